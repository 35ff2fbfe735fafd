"""What is to be sent next, by all that was said before."""

from typing import Any

from rule_service.domain.model import GroupScope, Scope
from rule_service.stream.difference import NO_FILE, Difference
from rule_service.stream.snapshot import Snapshot
from rule_service.stream.standing import Compare, Standing
from rule_service.stream.view import View
from rule_service.usecases.ports_delivery import FileChanges, Manifest
from rule_service.usecases.ports_fates import FateState, FileFate
from rulecast.digest import file_sha256
from tests.support.streams import position, version

A, B = "group-a.yml", "group-b.yml"
OLD, NEW = file_sha256(b"old"), file_sha256(b"new")
DISK, OTHER = b"d" * 32, b"o" * 32

FIRST = Snapshot.of(Manifest(position(1), {A: version(A, b"old", 1)}))
SECOND = FIRST.with_changes(FileChanges(position(2), {A: version(A, b"new", 2)}))
NOTHING_NEW = FIRST.with_changes(FileChanges(position(2), {}))


def view(snapshot: Snapshot, *served: Scope, grouping: int = 0) -> View:
    return View.of(snapshot, served, {}, grouping)


def fate(sha256: bytes, state: FateState = FateState.REJECTED, name: str = A) -> FileFate:
    return FileFate(name, sha256, state)


def begun(taken_up: int = 0, *, up_to_date: bool = True, **fields: Any) -> Standing:
    standing = Standing(taken_up, **fields)
    standing.begin(view(FIRST), up_to_date=up_to_date, now=0)
    return standing


def idle() -> Standing:
    """A stream whose deployer has confirmed revision 1."""
    standing = begun()
    assert deliver(standing, view(FIRST)) is not None
    return standing


def deliver(standing: Standing, view: View, *, revision: int | None = None) -> Difference | None:
    """Offers, sends, and has it answered."""
    offer = standing.offer(view, trusted=False)
    if not isinstance(offer, Difference):
        return None
    nonce = standing.send(offer, view).nonce
    standing.all_sent(nonce, 1.0)
    said = offer.to_revision if revision is None else revision
    answered = standing.told_status(nonce, standing.revision_of(nonce, said), DISK)
    assert answered is not None
    return offer


def test_a_deployer_that_has_everything_is_asked_to_confirm_once() -> None:
    standing = begun()
    offer = standing.offer(view(FIRST), trusted=False)
    assert isinstance(offer, Difference)
    assert offer.empty
    assert deliver(standing, view(FIRST)) == offer
    assert standing.taken_up == 1
    assert standing.offer(view(FIRST), trusted=False) is None


def test_nothing_is_sent_while_an_answer_is_due() -> None:
    standing = idle()
    offer = standing.offer(view(SECOND), trusted=False)
    assert isinstance(offer, Difference)
    nonce = standing.send(offer, view(SECOND)).nonce
    waited = [standing.waits_since]
    standing.all_sent(nonce, 5.0)
    waited.append(standing.waits_since)
    assert standing.offer(view(SECOND), trusted=False) is None
    standing.told_status(nonce, 2, DISK)
    waited.append(standing.waits_since)
    assert waited == [None, 5.0, None]


def test_an_answer_may_come_before_all_is_known_to_be_sent() -> None:
    standing = begun()
    offer = standing.offer(view(FIRST), trusted=False)
    assert isinstance(offer, Difference)
    nonce = standing.send(offer, view(FIRST)).nonce
    standing.told_status(nonce, 1, DISK)
    standing.all_sent(nonce, 5.0)
    assert not standing.waits


def test_an_inventory_is_waited_for_and_then_compared() -> None:
    standing = begun(up_to_date=False)
    assert standing.waits_since == 0
    assert standing.offer(view(FIRST), trusted=False) is None
    standing.told_inventory({B: OLD})
    offer = standing.offer(view(FIRST), trusted=True)
    assert isinstance(offer, Difference)
    assert ([put.name for put in offer.puts], offer.deletes, offer.mass_deletion_allowed) == ([A], (B,), True)


def test_what_changes_nothing_here_settles_only_after_a_whole_answer() -> None:
    standing = idle()
    assert standing.offer(view(NOTHING_NEW), trusted=False) is None
    assert standing.sent == 2
    assert standing.to_settle
    behind = begun()
    deliver(behind, view(FIRST), revision=0)
    assert behind.offer(view(NOTHING_NEW), trusted=False) is None
    assert not behind.to_settle
    behind.told_status(0, behind.revision_of(0, 2), DISK)
    assert behind.taken_up == 2


def test_news_before_the_first_answer_do_not_raise_the_revision() -> None:
    standing = begun(taken_up=0, up_to_date=False)
    assert standing.revision_of(0, 500) == 0
    standing.told_inventory({})
    offer = standing.offer(view(FIRST), trusted=False)
    assert isinstance(offer, Difference)
    nonce = standing.send(offer, view(FIRST)).nonce
    assert standing.revision_of(0, 500) == 0
    assert standing.revision_of(nonce, 500) == 1


def test_news_never_lower_what_was_taken_up() -> None:
    standing = idle()
    assert standing.revision_of(0, 0) == 1
    assert standing.revision_of(0, 99) == 1


def test_a_refusal_lasts_until_the_file_changes() -> None:
    standing = idle()
    standing.judged([fate(OLD)], FIRST.entries)
    assert standing.refused == {A: OLD}
    standing.judged([], SECOND.entries)
    assert standing.refused == {}
    standing.judged([fate(NEW, FateState.ROLLED_BACK)], SECOND.entries)
    assert standing.refused == {A: NEW}
    standing.judged([fate(NEW, FateState.ACTIVE)], SECOND.entries)
    assert standing.refused == {}
    standing.judged([fate(NEW, FateState.DEFERRED)], SECOND.entries)
    assert standing.refused == {}


def test_a_refused_file_is_not_offered_while_the_same_is_wanted() -> None:
    standing = begun(refused={A: OLD}, up_to_date=False)
    standing.told_inventory({})
    offer = standing.offer(view(FIRST), trusted=False)
    assert isinstance(offer, Difference)
    assert offer.empty


def test_an_inventory_that_nobody_asked_for_forgets_refused_versions_but_not_deletions() -> None:
    standing = idle()
    standing.refused = {A: OLD, B: NO_FILE}
    standing.told_inventory({B: OLD})
    offer = standing.offer(view(FIRST), trusted=False)
    assert isinstance(offer, Difference)
    assert ([put.name for put in offer.puts], offer.deletes) == ([A], ())


def test_an_inventory_from_the_middle_of_an_update_is_asked_for_again() -> None:
    standing = idle()
    offer = standing.offer(view(SECOND), trusted=False)
    assert isinstance(offer, Difference)
    nonce = standing.send(offer, view(SECOND)).nonce
    standing.told_inventory({A: OLD})
    assert standing.offer(view(SECOND), trusted=False) is None
    standing.told_status(nonce, 2, DISK)
    assert standing.offer(view(SECOND), trusted=False) == Compare()
    standing.ask(3.0)
    assert standing.waits_since == 3.0
    standing.told_inventory({A: NEW})
    assert deliver(standing, view(SECOND)) is not None
    assert standing.offer(view(SECOND), trusted=False) is None


def test_a_resync_compares_everything_and_answers_are_always_given() -> None:
    standing = idle()
    standing.resync()
    assert standing.offer(view(FIRST), trusted=False) == Compare()
    standing.ask(3.0)
    standing.told_inventory({A: OLD})
    confirmed = deliver(standing, view(FIRST))
    assert confirmed is not None
    assert confirmed.empty


def test_a_mass_deletion_is_allowed_once_when_it_was_asked_for() -> None:
    standing = idle()
    standing.refused = {B: NO_FILE}
    standing.resync()
    assert standing.refused == {B: NO_FILE}
    standing.resync(mass_deletion_allowed=True)
    assert standing.refused == {}
    for allowed in (True, False):
        standing.ask(3.0)
        standing.told_inventory({A: OLD, B: OLD})
        update = deliver(standing, view(FIRST))
        assert update is not None
        assert update.mass_deletion_allowed is allowed


def test_a_disk_that_strays_is_noticed_when_nothing_is_on_its_way() -> None:
    standing = begun()
    assert not standing.strayed(OTHER)
    deliver(standing, view(FIRST))
    assert not standing.strayed(DISK)
    assert not standing.strayed(b"")
    assert standing.strayed(OTHER)
    standing.ask(1.0)
    assert not standing.strayed(OTHER)


def test_groups_that_have_moved_have_everything_compared() -> None:
    standing = Standing(0)
    served = GroupScope("a")
    standing.begin(view(FIRST, served), up_to_date=True, now=0)
    deliver(standing, view(FIRST, served))
    assert standing.offer(view(FIRST, served, grouping=1), trusted=False) == Compare()
    all_taken = idle()
    assert all_taken.offer(view(FIRST, grouping=1), trusted=False) is None


def test_what_is_not_known_any_more_is_compared() -> None:
    standing = idle()
    later = Snapshot.of(Manifest(position(9), {A: version(A, b"new", 9)}))
    assert standing.offer(view(later), trusted=False) == Compare()


def test_it_rests_once_everything_is_answered_and_nothing_newer_is_known() -> None:
    standing = begun()
    assert not standing.rests(1), "the first Update is still to come"
    offer = standing.offer(view(FIRST), trusted=False)
    assert isinstance(offer, Difference)
    update = standing.send(offer, view(FIRST))
    assert not standing.rests(1), "an answer is waited for"
    standing.told_status(update.nonce, 1, DISK)
    assert standing.rests(1)
    assert not standing.rests(2)


def test_it_does_not_rest_while_something_is_asked_for_or_to_be_recorded() -> None:
    assert idle().rests(1)
    for disturb in (
        lambda standing: standing.resync(),
        lambda standing: standing.told_inventory({}),
        lambda standing: standing.ask(2.0),
        lambda standing: setattr(standing, "unrenewed_since", 2.0),
        lambda standing: standing.offer(view(NOTHING_NEW), trusted=False),
    ):
        standing = idle()
        disturb(standing)
        assert not standing.rests(standing.sent)
