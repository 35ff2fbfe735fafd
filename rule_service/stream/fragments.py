"""An Update in pieces of at most 1 MiB, serialised without what differs from stream to stream. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from rule_service.stream.difference import Difference
from rulecast.v1 import distribution_pb2 as pb

LIMIT: Final = 1024 * 1024
"""Bytes of one fragment."""

_AROUND: Final = 512  # bytes of the fields around puts and deletes, and of the envelope; generously
_AROUND_ONE: Final = 8  # bytes of the tag and the length before one put or delete
_SLICE: Final = LIMIT - 2 * _AROUND


def envelope(body: bytes, epoch: int, nonce: int = 0, traceparent: str = "") -> bytes:
    """The body with what differs from stream to stream: one message after the other is their union in protobuf."""
    return body + pb.SyncResponse(nonce=nonce, epoch=epoch, traceparent=traceparent).SerializeToString()


def bodies(difference: Difference, contents: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The fragments, each a serialised SyncResponse without nonce and epoch; at least one.

    contents: the bytes of every file that is put, by SHA-256.
    """
    fragments = list(_packed(difference, contents))
    for fragment in fragments:
        fragment.more = True
    fragments[-1].more = False
    fragments[-1].manifest_hash = difference.manifest_hash
    fragments[-1].commit_id = difference.commit_id
    return tuple(pb.SyncResponse(update=fragment).SerializeToString() for fragment in fragments)


def _packed(difference: Difference, contents: Mapping[bytes, bytes]) -> Iterator[pb.Update]:
    fragment, size = _begun(difference), _AROUND
    for item in _items(difference, contents):
        needed = item.ByteSize() + _AROUND_ONE
        if size + needed > LIMIT:
            yield fragment
            fragment, size = _begun(difference), _AROUND
        if isinstance(item, pb.FilePut):
            fragment.puts.append(item)
        else:
            fragment.deletes.append(item)
        size += needed
    yield fragment


def _begun(difference: Difference) -> pb.Update:
    return pb.Update(
        from_revision=difference.from_revision,
        to_revision=difference.to_revision,
        mass_deletion_allowed=difference.mass_deletion_allowed,
    )


def _items(difference: Difference, contents: Mapping[bytes, bytes]) -> Iterator[pb.FilePut | pb.FileDelete]:
    for put in difference.puts:
        content = contents[put.sha256]
        for offset in range(0, len(content) or 1, _SLICE):
            yield pb.FilePut(
                file_name=put.name,
                sha256=put.sha256,
                revision=put.revision,
                offset=offset,
                total_size=len(content),
                content=content[offset : offset + _SLICE],
            )
    for name in difference.deletes:
        yield pb.FileDelete(file_name=name)
