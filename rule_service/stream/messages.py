"""The stream's messages: what a deployer says as values, checked; what it is told as bytes. Pure.

A deployer is another program, perhaps a broken one: nothing it says reaches the database unchecked.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import GlobalScope, GroupScope, NamespaceScope, Scope
from rule_service.domain.names import check_id, check_text
from rule_service.domain.wording import shown
from rule_service.stream.policy import StreamPolicy
from rule_service.stream.view import View
from rule_service.usecases.ports_delivery import DeployedFile, EffectiveFacts, HelloFacts
from rule_service.usecases.ports_fates import FateState, FileFate
from rulecast.capabilities import FRAGMENTS
from rulecast.errors import FailedPrecondition, InvalidInput
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb

PROTOCOL_VERSION: Final = 1
PROCESS_ID_BYTES: Final = 16
HASH_BYTES: Final = 32
MAX_SERVED: Final = 1_000
MAX_WORDS: Final = 1_000
"""Characters of a text that is only displayed."""
MAX_MESSAGE_BYTES: Final = 4096
"""Of the words about one outcome; see FileOutcome in common.proto."""

_STATES: Final = MappingProxyType(
    {
        common_pb2.Rollout.ACTIVE: FateState.ACTIVE,
        common_pb2.Rollout.REJECTED: FateState.REJECTED,
        common_pb2.Rollout.ROLLED_BACK: FateState.ROLLED_BACK,
        common_pb2.Rollout.DEFERRED: FateState.DEFERRED,
    }
)


def hello(message: pb.SyncRequest | None) -> HelloFacts:
    """Who is there. Raises InvalidInput, and FailedPrecondition for a protocol that is not spoken here."""
    if message is None or message.WhichOneof("kind") != "hello":
        raise InvalidInput.of("hello", Reason.FIELD_REQUIRED, "the first message of a stream has to be `hello`")
    said = message.hello
    _check_protocol(said.protocol_version)
    check_id(said.deployer_id, "hello.deployer_id")
    if len(said.process_id) != PROCESS_ID_BYTES:
        raise InvalidInput.of(
            "hello.process_id",
            Reason.FIELD_INVALID,
            f"{len(said.process_id)} bytes: it has to be {PROCESS_ID_BYTES}, made anew for each process start",
        )
    for field in ("software_version", "prometheus_version", "prometheus_url", "history_id", "commit_id"):
        check_text(getattr(said, field), f"hello.{field}", MAX_WORDS)
    if said.epoch < 0 or said.revision < 0:
        raise InvalidInput.of("hello", Reason.FIELD_INVALID, "`epoch` and `revision` can not be negative")
    return HelloFacts(
        id=said.deployer_id,
        process_id=said.process_id,
        software_version=said.software_version,
        prometheus_version=said.prometheus_version,
        prometheus_url=said.prometheus_url,
        serves=_served(said.serves),
        epoch=said.epoch,
        history_id=said.history_id,
        revision=said.revision,
        manifest_hash=sha256(said.manifest_hash, "hello.manifest_hash"),
        commit_id=said.commit_id,
    )


def inventory(message: pb.Inventory) -> dict[str, bytes]:
    """SHA-256 by name of the files that are ours; a file of another name is none of our business."""
    return {
        file.file_name: sha256(file.sha256, f"inventory.files[{at}].sha256")
        for at, file in enumerate(message.files)
        if parse_file_name(file.file_name) is not None
    }


def fates(message: pb.ApplyStatus) -> list[FileFate]:
    """What became of the files that are ours."""
    return [
        _fate(file, f"status.files[{at}]")
        for at, file in enumerate(message.files)
        if parse_file_name(file.file_name) is not None
    ]


def effective(message: pb.EffectiveState) -> EffectiveFacts:
    reloaded = message.HasField("last_reload_time")
    return EffectiveFacts(
        manifest_hash=sha256(message.manifest_hash, "effective.manifest_hash"),
        files={
            file.file_name: DeployedFile(
                sha256(file.sha256, f"effective.files[{at}].sha256"),
                max(0, file.revision),
                max(0, file.rule_count),
                max(0, file.size_bytes),
            )
            for at, file in enumerate(message.files)
            if parse_file_name(file.file_name) is not None
        },
        prometheus_up=message.prometheus_up,
        prometheus_version=_words(message.prometheus_version, MAX_WORDS),
        last_reload_at=_time(message.last_reload_time, "effective.last_reload_time") if reloaded else None,
        last_reload_ok=message.last_reload_ok if reloaded else None,
        drifted_files=tuple(_words(name, MAX_WORDS) for name in message.drifted_files),
        warnings=tuple(
            (_words(each.code, MAX_WORDS), _words(each.message, MAX_MESSAGE_BYTES)) for each in message.warnings
        ),
    )


def welcome(view: View, mode: pb.Welcome.Mode.ValueType, policy: StreamPolicy, server_id: str) -> bytes:
    heartbeat = Duration()
    heartbeat.FromNanoseconds(round(policy.heartbeat * 1e9))
    return pb.SyncResponse(
        welcome=pb.Welcome(
            protocol_version=PROTOCOL_VERSION,
            capabilities=[FRAGMENTS],
            history_id=view.snapshot.position.history_id,
            revision=view.revision,
            mode=mode,
            heartbeat_interval=heartbeat,
            server_id=server_id,
        )
    ).SerializeToString()


def progress(revision: int, commit_id: str, manifest_hash: bytes) -> bytes:
    said = pb.Progress(revision=revision, commit_id=commit_id, manifest_hash=manifest_hash)
    return pb.SyncResponse(progress=said).SerializeToString()


def command(id: int, kind: pb.Command.Kind.ValueType) -> bytes:
    return pb.SyncResponse(command=pb.Command(id=id, kind=kind)).SerializeToString()


def drain(message: str, within: float) -> bytes:
    """within: seconds."""
    duration = Duration()
    duration.FromNanoseconds(round(within * 1e9))
    return pb.SyncResponse(drain=pb.Drain(reconnect_within=duration, message=message)).SerializeToString()


def _check_protocol(version: int) -> None:
    if version != PROTOCOL_VERSION:
        raise FailedPrecondition.of(
            "hello.protocol_version",
            Reason.PROTOCOL_UNSUPPORTED,
            f"the deployer speaks version {version} of the protocol, this rule service from {PROTOCOL_VERSION} to "
            f"{PROTOCOL_VERSION}: upgrade the older one",
            protocol_min=str(PROTOCOL_VERSION),
            protocol_max=str(PROTOCOL_VERSION),
        )


def _served(scopes: Sequence[common_pb2.Scope]) -> tuple[Scope, ...]:
    if len(scopes) > MAX_SERVED:
        raise InvalidInput.of(
            "hello.serves", Reason.TOO_LARGE, f"{len(scopes)} namespaces and groups: at most {MAX_SERVED} are allowed"
        )
    return tuple(dict.fromkeys(_scope(scope, f"hello.serves[{at}]") for at, scope in enumerate(scopes)))


def _scope(message: common_pb2.Scope, field: str) -> Scope:
    match message.WhichOneof("level"):
        case "global":
            return GlobalScope()
        case "namespace_id":
            check_id(message.namespace_id, f"{field}.namespace_id")
            return NamespaceScope(message.namespace_id)
        case "group_id":
            check_id(message.group_id, f"{field}.group_id")
            return GroupScope(message.group_id)
        case _:
            raise InvalidInput.of(
                field, Reason.FIELD_REQUIRED, "say which namespace or group is served; leave `serves` empty for all"
            )


def _fate(file: common_pb2.FileOutcome, field: str) -> FileFate:
    state = _STATES.get(file.state)
    if state is None:
        raise InvalidInput.of(
            f"{field}.state",
            Reason.FIELD_INVALID,
            f"{file.state} is no outcome: say {', '.join(state.name for state in _STATES.values())}",
        )
    return FileFate(
        file_name=file.file_name,
        sha256=sha256(file.sha256, f"{field}.sha256"),
        state=state,
        reason=_words(file.reason, MAX_WORDS),
        message=_words(file.message, MAX_MESSAGE_BYTES),
        group=_words(file.group, MAX_WORDS),
        rule=_words(file.rule, MAX_WORDS),
        at=_time(file.time, f"{field}.time") if file.HasField("time") else None,
    )


def sha256(value: bytes, field: str) -> bytes:
    """32 bytes, or none where there is nothing to say. Raises InvalidInput."""
    if len(value) not in (0, HASH_BYTES):
        raise InvalidInput.of(field, Reason.FIELD_INVALID, f"{len(value)} bytes: a SHA-256 has {HASH_BYTES}")
    return value


def _time(value: Timestamp, field: str) -> datetime:
    try:
        return value.ToDatetime().replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput.of(field, Reason.FIELD_INVALID, f"this is no time: {shown(str(value))}") from error


def _words(text: str, limit: int) -> str:
    """At most `limit` bytes, without what PostgreSQL can not hold."""
    data = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode()
    return data.decode() if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"
