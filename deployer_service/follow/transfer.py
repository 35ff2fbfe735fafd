"""Fragments of an Update become one batch. Pure; what is incomplete is only kept in memory."""

from dataclasses import dataclass, field
from typing import Final

from deployer_service.state import Batch, Put
from rulecast.errors import InvalidInput, LimitExceeded
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb

MAX_UPDATE_BYTES: Final = 512 * 1024 * 1024
"""Of all files of one Update: over a million rules. More is a fault of the sender."""


@dataclass(frozen=True, slots=True)
class Update:
    """A whole Update. manifest_hash: over all files as they should be afterwards; received_at: monotonic seconds."""

    nonce: int
    batch: Batch
    manifest_hash: bytes
    received_at: float


@dataclass(slots=True)
class _File:
    sha256: bytes
    revision: int
    total_size: int
    content: bytearray = field(default_factory=bytearray)


class Transfer:
    """Collects the fragments of one Update after the other. A new nonce throws away what was incomplete."""

    def __init__(self, limit: int = MAX_UPDATE_BYTES) -> None:
        self._limit = limit
        self._nonce = 0
        self._begin(0)

    def add(self, nonce: int, fragment: pb.Update, now: float) -> Update | None:
        """The Update, with its last fragment. now: monotonic seconds.

        Raises InvalidInput or LimitExceeded for what a rule service never sends; the stream has to end then.
        """
        if nonce < self._nonce or nonce == 0:
            raise _broken(f"an update with the nonce {nonce} after one with {self._nonce}")
        if nonce > self._nonce:
            self._begin(nonce)
        for put in fragment.puts:
            self._put(put)
        for delete in fragment.deletes:
            self._files.pop(delete.file_name, None)
            self._deletes.add(delete.file_name)
        if fragment.more:
            return None
        update = Update(nonce, self._batch(fragment), fragment.manifest_hash, now)
        self._begin(nonce + 1)  # whatever still comes with this nonce is a fault
        return update

    def _begin(self, nonce: int) -> None:
        self._nonce = nonce
        self._size = 0
        self._files: dict[str, _File] = {}
        self._deletes: set[str] = set()

    def _put(self, put: pb.FilePut) -> None:
        name = put.file_name
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = _File(put.sha256, put.revision, put.total_size)
            self._deletes.discard(name)
        if (put.sha256, put.total_size) != (file.sha256, file.total_size) or put.offset != len(file.content):
            raise _broken(f"a slice of {name!r} at {put.offset} that does not follow the one before")
        self._size += len(put.content)
        if self._size > self._limit:
            raise LimitExceeded.of("update", Reason.TOO_LARGE, f"an update of more than {self._limit} bytes")
        file.content += put.content
        if len(file.content) > file.total_size:
            raise _broken(f"more of {name!r} than its {file.total_size} bytes")

    def _batch(self, last: pb.Update) -> Batch:
        for name, file in self._files.items():
            if len(file.content) != file.total_size:
                raise _broken(f"{len(file.content)} of the {file.total_size} bytes of {name!r}")
        puts = {name: Put(bytes(file.content), file.sha256, file.revision) for name, file in self._files.items()}
        return Batch(puts, frozenset(self._deletes), last.to_revision, last.mass_deletion_allowed, last.commit_id)


def _broken(what: str) -> InvalidInput:
    return InvalidInput.of("update", Reason.FIELD_INVALID, f"the rule service sent {what}")
