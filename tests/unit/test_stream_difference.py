"""What is offered to a deployer."""

from rule_service.domain.model import GlobalScope, Group, GroupScope, Scope
from rule_service.stream.difference import NO_FILE, Difference, against, since
from rule_service.stream.snapshot import Snapshot
from rule_service.stream.view import View, Wanted
from rule_service.usecases.ports_delivery import FileChanges, Manifest
from rulecast.digest import file_sha256, manifest_hash
from tests.support.streams import position, version

A, B, G = "group-a.yml", "group-b.yml", "global.yml"
GROUPS = {"a": Group("a", "env", "a"), "b": Group("b", "env", "b")}
SHA = {content: file_sha256(content) for content in (b"1", b"2", b"3")}


def snapshot_of(*, removed: str | None = None, **contents: bytes) -> Snapshot:
    """At revision 2; what is removed was there at revision 1."""
    names = {"a": A, "b": B, "g": G}
    files = {names[key]: version(names[key], content, 1) for key, content in contents.items()}
    before = dict(files)
    if removed is not None:
        before[removed] = version(removed, b"1", 1)
    first = Snapshot.of(Manifest(position(1), before))
    return first.with_changes(FileChanges(position(2), {removed: None} if removed is not None else {}))


def view_of(snapshot: Snapshot, *served: Scope) -> View:
    return View.of(snapshot, served, GROUPS, 0)


def test_an_inventory_is_led_to_the_manifest() -> None:
    view = view_of(snapshot_of(a=b"1", b=b"2", g=b"3"))
    difference = against(view, {A: SHA[b"1"], B: SHA[b"3"], "group-x.yml": SHA[b"1"]}, {}, mass_deletion_allowed=False)
    assert difference == Difference(
        0,
        2,
        (Wanted(G, SHA[b"3"], 1), Wanted(B, SHA[b"2"], 1)),
        ("group-x.yml",),
        manifest_hash({A: SHA[b"1"], B: SHA[b"2"], G: SHA[b"3"]}),
        False,
        "commit-2",
    )


def test_names_that_are_not_ours_are_not_deleted() -> None:
    foreign = {"other.yml": SHA[b"1"], "../group-x.yml": SHA[b"1"], "group-X.yml": SHA[b"1"]}
    assert against(view_of(snapshot_of()), foreign, {}, mass_deletion_allowed=True).empty


def test_deletions_that_were_logged_are_allowed() -> None:
    difference = since(view_of(snapshot_of(a=b"1", removed=B)), 1, {})
    assert difference is not None
    assert (difference.puts, difference.deletes, difference.mass_deletion_allowed) == ((), (B,), True)


def test_what_can_not_be_told_has_to_be_compared() -> None:
    assert since(view_of(snapshot_of(a=b"1")), 0, {}) is None


def test_what_was_refused_is_left_out_but_not_another_version_of_it() -> None:
    view = view_of(snapshot_of(a=b"1", b=b"2"))
    difference = against(view, {}, {A: SHA[b"1"], B: SHA[b"3"]}, mass_deletion_allowed=True)
    assert [put.name for put in difference.puts] == [B]
    assert difference.manifest_hash == view.manifest_hash


def test_a_deletion_that_was_refused_is_left_out() -> None:
    view = view_of(snapshot_of(a=b"1", removed=B))
    refused = {B: NO_FILE}
    incremental = since(view, 1, refused)
    assert incremental is not None
    assert incremental.empty
    assert against(view, {A: SHA[b"1"], B: SHA[b"1"]}, refused, mass_deletion_allowed=True).empty


def test_a_part_of_the_files_is_hashed_and_offered_alone() -> None:
    snapshot = snapshot_of(a=b"1", b=b"2", g=b"3")
    view = view_of(snapshot, GroupScope("a"))
    assert view.manifest_hash == manifest_hash({A: SHA[b"1"], G: SHA[b"3"]})
    difference = against(view, {B: SHA[b"2"]}, {}, mass_deletion_allowed=True)
    assert {put.name for put in difference.puts} == {A, G}
    assert difference.deletes == (B,)
    assert not view.takes(B)
    assert view.takes(A)
    assert view_of(snapshot, GlobalScope()).takes(B)


def test_a_deletion_of_somebody_elses_file_is_not_passed_on() -> None:
    difference = since(view_of(snapshot_of(a=b"1", removed=B), GroupScope("a")), 1, {})
    assert difference is not None
    assert difference.empty


def test_what_changed_is_looked_up_once_for_all_who_have_the_same() -> None:
    before = snapshot_of(a=b"1", b=b"2", removed=G)
    changed = FileChanges(position(3), {A: version(A, b"3", 3), B: None})
    view = view_of(before.with_changes(changed))
    first = view.changed_since(2)
    assert first == ((Wanted(A, SHA[b"3"], 3),), (B,))
    assert view.changed_since(2) is first
    assert view.changed_since(3) == ((), ())
    assert view.changed_since(0) is None
    assert view.changed_since(2) == first


def test_equal_differences_are_found_by_their_hash() -> None:
    view = view_of(snapshot_of(a=b"1", b=b"2"))
    one, other = (against(view, {A: SHA[b"3"]}, {}, mass_deletion_allowed=False) for _ in range(2))
    assert one is not other
    assert {one: "found"}[other] == "found"
    assert against(view, {}, {A: SHA[b"1"]}, mass_deletion_allowed=False) != one
