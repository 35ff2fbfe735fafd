"""Fragments of an Update become one batch, or nothing."""

import pytest

from deployer_service.follow.transfer import Transfer
from deployer_service.state import Batch, Put
from rulecast.digest import file_sha256
from rulecast.errors import InvalidInput, LimitExceeded
from rulecast.v1 import distribution_pb2 as pb
from tests.support.follow import put


def slices(name: str, content: bytes, size: int) -> list[pb.FilePut]:
    """The file in pieces of `size` bytes."""
    return [
        pb.FilePut(
            file_name=name,
            sha256=file_sha256(content),
            revision=7,
            offset=at,
            total_size=len(content),
            content=content[at : at + size],
        )
        for at in range(0, len(content), size)
    ]


def test_one_fragment_is_a_whole_update() -> None:
    fragment = pb.Update(
        to_revision=7,
        puts=[put("global.yml", b"a", 7)],
        deletes=[pb.FileDelete(file_name="group-x.yml")],
        manifest_hash=b"m" * 32,
        mass_deletion_allowed=True,
    )

    update = Transfer().add(3, fragment, now=12.5)

    assert update is not None
    assert update.batch == Batch({"global.yml": Put.of(b"a", 7)}, frozenset({"group-x.yml"}), 7, True)
    assert (update.nonce, update.manifest_hash, update.received_at) == (3, b"m" * 32, 12.5)


def test_nothing_comes_out_before_the_last_fragment() -> None:
    transfer = Transfer()
    pieces = slices("global.yml", b"0123456789", 4)

    assert transfer.add(1, pb.Update(puts=pieces[:1], more=True), 0) is None
    assert transfer.add(1, pb.Update(puts=pieces[1:2], more=True), 0) is None
    update = transfer.add(1, pb.Update(puts=[*pieces[2:], put("group-a.yml", b"x")], to_revision=7), 0)

    assert update is not None
    assert {name: file.content for name, file in update.batch.puts.items()} == {
        "global.yml": b"0123456789",
        "group-a.yml": b"x",
    }


def test_an_empty_file_is_a_file() -> None:
    update = Transfer().add(1, pb.Update(puts=[put("global.yml", b"")]), 0)

    assert update is not None
    assert update.batch.puts["global.yml"] == Put.of(b"", 1)


def test_a_new_nonce_throws_away_what_was_incomplete() -> None:
    transfer = Transfer()
    transfer.add(1, pb.Update(puts=[put("global.yml", b"old")], more=True), 0)

    update = transfer.add(2, pb.Update(puts=[put("group-a.yml", b"new")]), 0)

    assert update is not None
    assert set(update.batch.puts) == {"group-a.yml"}


@pytest.mark.parametrize(
    "puts",
    [
        slices("global.yml", b"0123456789", 4)[:2],
        slices("global.yml", b"0123456789", 4)[1:],
        [*slices("global.yml", b"0123456789", 10), *slices("global.yml", b"0123456789", 10)],
        [slices("global.yml", b"0123456789", 4)[0], slices("global.yml", b"012345678X", 4)[1]],
        [pb.FilePut(file_name="global.yml", sha256=b"h", total_size=2, content=b"abc")],
    ],
    ids=["cut short", "without its beginning", "twice", "of two files", "longer than it says"],
)
def test_a_broken_file_is_an_error(puts: list[pb.FilePut]) -> None:
    with pytest.raises(InvalidInput, match=r"global\.yml"):
        Transfer().add(1, pb.Update(puts=puts), 0)


def test_nonces_only_rise() -> None:
    transfer = Transfer()
    transfer.add(5, pb.Update(), 0)

    for nonce in (0, 4, 5):
        with pytest.raises(InvalidInput, match="nonce"):
            transfer.add(nonce, pb.Update(), 0)


def test_what_is_kept_in_memory_is_bounded() -> None:
    transfer = Transfer(limit=10)
    transfer.add(1, pb.Update(puts=[put("global.yml", b"12345")], more=True), 0)

    with pytest.raises(LimitExceeded, match="10 bytes"):
        transfer.add(1, pb.Update(puts=[put("group-a.yml", b"123456")], more=True), 0)
