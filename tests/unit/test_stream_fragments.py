"""Fragments: small enough, whole together, and serialised once for all."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rule_service.stream.difference import Difference
from rule_service.stream.fragments import LIMIT, bodies, envelope
from rule_service.stream.view import Wanted
from rulecast.digest import file_sha256
from rulecast.v1 import distribution_pb2 as pb
from tests.support.streams import assembled

HASH = b"h" * 32
SIZES = st.one_of(st.integers(0, 200), st.integers(LIMIT - 2_000, LIMIT + 2_000), st.just(3 * LIMIT))


def difference_of(contents: dict[str, bytes], deletes: tuple[str, ...] = ()) -> Difference:
    puts = tuple(Wanted(name, file_sha256(content), 3) for name, content in contents.items())
    return Difference(2, 7, puts, deletes, HASH, True, "commit-7")


def sent(difference: Difference, contents: dict[str, bytes], nonce: int = 5, epoch: int = 9) -> list[pb.SyncResponse]:
    by_hash = {file_sha256(content): content for content in contents.values()}
    return [pb.SyncResponse.FromString(envelope(body, epoch, nonce)) for body in bodies(difference, by_hash)]


@settings(max_examples=40, deadline=None)
@given(st.lists(SIZES, max_size=6), st.integers(0, 3))
def test_the_files_arrive_whole_in_fragments_of_at_most_1_mib(sizes: list[int], deletions: int) -> None:
    contents = {f"group-g{at}.yml": bytes([at]) * size for at, size in enumerate(sizes)}
    deletes = tuple(f"group-d{at}.yml" for at in range(deletions))
    got = assembled(sent(difference_of(contents, deletes), contents))
    assert (got.puts, got.deletes) == (contents, set(deletes))
    assert (got.from_revision, got.to_revision, got.mass_deletion_allowed) == (2, 7, True)
    assert (got.manifest_hash, got.commit_id) == (HASH, "commit-7")
    assert len(got.sizes) <= 1 + sum(size // (LIMIT - 2048) + 1 for size in sizes)


def test_nothing_to_change_is_one_fragment() -> None:
    (response,) = sent(difference_of({}), {})
    assert response.nonce == 5
    assert response.epoch == 9
    assert not response.update.more
    assert response.update.to_revision == 7


def test_many_deletions_are_cut_too() -> None:
    deletes = tuple(f"group-{at:060}.yml" for at in range(20_000))
    got = assembled(sent(difference_of({}, deletes), {}))
    assert got.deletes == set(deletes)
    assert len(got.sizes) == 2


def test_a_sign_of_life_says_only_the_epoch() -> None:
    response = pb.SyncResponse.FromString(envelope(b"", 4))
    assert (response.WhichOneof("kind"), response.epoch, response.nonce) == (None, 4, 0)
