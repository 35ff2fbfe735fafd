"""What the deployer knows, as messages of the stream. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar, assert_never

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deployer_service.state import (
    Active,
    BatchResult,
    Deferred,
    FileReport,
    Outcome,
    PipelineState,
    Rejected,
    RolledBack,
    Unchanged,
    Why,
)
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb

Item = TypeVar("Item", pb.FileVersion, common_pb2.FileOutcome)

PROTOCOL_VERSION: Final = 1
MAX_FRAGMENT_BYTES: Final = 1024 * 1024
"""Of a list in a message; a gRPC message can have 4 MiB."""
MAX_MESSAGE_BYTES: Final = 4096
"""Of the message of one outcome; see FileOutcome in common.proto."""

_MAX_ALL_MESSAGES: Final = 2 * 1024 * 1024  # bytes, of what is told at once; who reads them all?
_AROUND_ONE: Final = 8  # bytes of the tag and the length before each of a list
_SHORTEST_MESSAGE: Final = 100

_State = common_pb2.Rollout.State
_WORST_LAST: Final = (_State.ACTIVE, _State.DEFERRED, _State.ROLLED_BACK, _State.REJECTED)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is. process_id: 16 bytes, made at its start. prometheus_url: for display, without password."""

    deployer_id: str
    process_id: bytes
    software_version: str
    prometheus_url: str
    serves: Sequence[common_pb2.Scope]


def hello(identity: Identity, state: PipelineState) -> pb.SyncRequest:
    return pb.SyncRequest(
        hello=pb.Hello(
            deployer_id=identity.deployer_id,
            process_id=identity.process_id,
            protocol_version=PROTOCOL_VERSION,
            software_version=identity.software_version,
            prometheus_version=state.prometheus.version,
            prometheus_url=identity.prometheus_url,
            serves=identity.serves,
            epoch=state.record.epoch,
            history_id=state.record.history_id,
            revision=state.record.revision,
            commit_id=state.record.commit_id,
            manifest_hash=state.manifest_hash,
        )
    )


def inventory(state: PipelineState, *, fragmented: bool) -> list[pb.SyncRequest]:
    """fragmented: the rule service takes it in several messages."""
    files = [
        pb.FileVersion(file_name=name, sha256=version.sha256, revision=version.revision)
        for name, version in sorted(state.record.files.items())
    ]
    pieces = list(_pieces(files)) if fragmented else [files]
    last = len(pieces) - 1
    return [
        pb.SyncRequest(inventory=pb.Inventory(files=piece, more=number < last)) for number, piece in enumerate(pieces)
    ]


def heartbeat(state: PipelineState, applying: int, *, busy: bool) -> pb.SyncRequest:
    """applying: the nonce of the Update that is here and not answered, 0 for none."""
    return pb.SyncRequest(
        heartbeat=pb.Heartbeat(
            revision=state.record.revision, manifest_hash=state.manifest_hash, applying=applying, busy=busy
        )
    )


def answer(nonce: int, result: BatchResult, took: float, once_troubled: Collection[str]) -> list[pb.SyncRequest]:
    """The ApplyStatus to an Update: the files that are not Active, and of those once in trouble also the Active ones.

    The last one has the nonce: nothing counts as taken up before all that was to be said of it is said.
    took: seconds from its last fragment to now.
    """
    reports = result.outcomes.values()
    told = [report for report in reports if is_trouble(report.outcome) or report.file_name in once_troubled]
    requests = _statuses(told, result.revision, result.manifest_hash)
    requests[-1].status.nonce = nonce
    requests[-1].status.took.CopyFrom(duration(took))
    return requests


def news(reports: Iterable[FileReport], state: PipelineState) -> list[pb.SyncRequest]:
    """An ApplyStatus that nobody asked for: what became of these files since."""
    return _statuses(reports, state.record.revision, state.manifest_hash)


def standing(state: PipelineState, names: Iterable[str] | None, now: datetime) -> list[FileReport]:
    """How things stand: every trouble, and those of the named files that are in none, as Active. None: all files."""
    record = state.record
    untroubled = (record.files.keys() if names is None else frozenset(names)) - record.troubles.keys()
    active = [
        FileReport(name, record.files[name].sha256 if name in record.files else b"", Active(), now)
        for name in sorted(untroubled)
    ]
    return [*record.troubles.values(), *active]


def effective_state(state: PipelineState) -> pb.EffectiveState:
    prometheus = state.prometheus
    return pb.EffectiveState(
        manifest_hash=state.manifest_hash,
        files=[
            pb.FileVersion(
                file_name=name,
                sha256=version.sha256,
                revision=version.revision,
                rule_count=version.rules,
                size_bytes=version.size,
            )
            for name, version in sorted(state.record.files.items())
        ],
        prometheus_up=prometheus.up,
        prometheus_version=prometheus.version,
        last_reload_time=timestamp(prometheus.last_reload_time),
        last_reload_ok=prometheus.last_reload_ok,
        drifted_files=state.drifted,
        warnings=warnings(state),
    )


def effective(whole: pb.EffectiveState, *, fragmented: bool) -> list[pb.SyncRequest]:
    """fragmented: the rule service takes it in several messages."""
    pieces = list(_pieces(whole.files)) if fragmented else [whole.files]
    first = pb.EffectiveState()
    first.CopyFrom(whole)
    del first.files[len(pieces[0]) :]
    parts = [first, *(pb.EffectiveState(files=piece) for piece in pieces[1:])]
    for part in parts[:-1]:
        part.more = True
    return [pb.SyncRequest(effective=part) for part in parts]


def warnings(state: PipelineState) -> list[common_pb2.Warning]:
    return [common_pb2.Warning(code=notice.code, message=notice.message) for notice in state.notices]


def file_outcome(report: FileReport, limit: int = MAX_MESSAGE_BYTES) -> common_pb2.FileOutcome:
    """limit: bytes of its message."""
    why = _why(report.outcome)
    outcome = common_pb2.FileOutcome(
        file_name=clean(report.file_name),
        sha256=report.sha256,
        state=state_of(report.outcome),
        time=timestamp(report.time),
    )
    if why is not None:
        outcome.reason = why.reason
        outcome.message = clean(why.message, limit)
        outcome.group = clean(why.group or "")
        outcome.rule = clean(why.rule or "")
    return outcome


def state_of(outcome: Outcome) -> common_pb2.Rollout.State.ValueType:
    match outcome:
        case Active() | Unchanged():
            return _State.ACTIVE
        case Rejected():
            return _State.REJECTED
        case RolledBack():
            return _State.ROLLED_BACK
        case Deferred():
            return _State.DEFERRED
        case _:
            assert_never(outcome)


def name_of(kind: Any, number: int) -> str:
    """The name of an enum's value, for the log; a newer peer may say numbers that have none here."""
    return str(kind.Name(number)) if number in kind.values() else str(number)


def timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def duration(seconds: float) -> Duration:
    value = Duration()
    value.FromMicroseconds(round(seconds * 1e6))
    return value


def clean(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """Valid UTF-8, within the limit: promtool's words may be long and may quote anything."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def is_trouble(outcome: Outcome) -> bool:
    return _why(outcome) is not None


def _why(outcome: Outcome) -> Why | None:
    return outcome.why if isinstance(outcome, Rejected | RolledBack | Deferred) else None


def _statuses(reports: Iterable[FileReport], revision: int, manifest_hash: bytes) -> list[pb.SyncRequest]:
    told = list(reports)
    limit = min(MAX_MESSAGE_BYTES, max(_SHORTEST_MESSAGE, _MAX_ALL_MESSAGES // max(1, len(told))))
    files = [file_outcome(report, limit) for report in told]
    worst = _worst(files)
    return [
        pb.SyncRequest(status=pb.ApplyStatus(state=worst, revision=revision, files=piece, manifest_hash=manifest_hash))
        for piece in _pieces(files)
    ]


def _pieces(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in lists that fit into a message; at least one, perhaps empty."""
    piece: list[Item] = []
    size = 0
    for item in items:
        needed = item.ByteSize() + _AROUND_ONE
        if piece and size + needed > MAX_FRAGMENT_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(item)
        size += needed
    yield piece


def _worst(files: Iterable[common_pb2.FileOutcome]) -> common_pb2.Rollout.State.ValueType:
    return max((file.state for file in files), key=_WORST_LAST.index, default=_State.ACTIVE)
