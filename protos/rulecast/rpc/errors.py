"""RulecastError <-> gRPC status: the one place where they are turned into each other.

A status carries `google.rpc` details (AIP-193):

ErrorInfo            always: `reason`, the domain `rulecast`, and the error's metadata as is
BadRequest           one field violation for each Violation: field, description, reason
PreconditionFailure  the same for FailedPrecondition: type = reason, subject = field
RetryInfo            for Unavailable, and for any error whose metadata has `retry_after` (seconds, e.g. "12.5")
RequestInfo          the request's id, for whoever reads the log afterwards
and one of the service's own, such as the resource as it is now where somebody else was faster, if there is room for it

A position is appended to the description in words; the first one is also in ErrorInfo's metadata (`line`, `column`).
What is sent stays below gRPC's limit of 8 KiB for metadata: long texts are cut, and violations that find no room
are counted in ErrorInfo's metadata (`violations_left_out`).
"""

import re
from collections.abc import Iterable
from typing import Final

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rulecast.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Position,
    RulecastError,
    Unauthenticated,
    Unavailable,
    Violation,
)
from rulecast.reasons import Reason

DOMAIN: Final = "rulecast"
RETRY_AFTER: Final = "retry_after"
"""Metadata key: in how many seconds it makes sense to try again."""

DEFAULT_RETRY_AFTER: Final = 1.0
MAX_STATUS_BYTES: Final = 4096
"""Of the serialised status. In base64, and with the message once more beside it, it stays below 8 KiB."""

_MAX_MESSAGE: Final = 700
_MAX_DESCRIPTION: Final = 1000
_MAX_VALUE: Final = 300
_MAX_METADATA_BYTES: Final = 1000

_log = structlog.get_logger()

_CODES: Final[dict[type[RulecastError], grpc.StatusCode]] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Conflict: grpc.StatusCode.ABORTED,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_TYPES: Final[dict[grpc.StatusCode, type[RulecastError]]] = {
    **{code: error for error, code in _CODES.items()},
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
}
_POSITION: Final = re.compile(r" \(line (\d+), column (\d+)\)\Z")


def code_of(error: Exception) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for one that no caller is meant to see."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def meant(error: Exception, request_id: str = "") -> RulecastError:
    """The error to tell a caller. An unexpected exception is logged with its traceback and tells the caller nothing."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:  # a task group's way of raising
        error = error.exceptions[0]
    if isinstance(error, RulecastError):
        return error
    _log.error("unexpected error", exc_info=error, request_id=request_id)
    return RulecastError.of("", Reason.INTERNAL, "internal error; the service's log has the details")


def to_status(failure: Exception, request_id: str = "", more: Message | None = None) -> status_pb2.Status:
    """The status a caller gets for what `meant` makes of the failure. more: a detail to go along if there is room."""
    error = meant(failure, request_id)
    details: list[Message] = []
    if request_id:
        details.append(error_details_pb2.RequestInfo(request_id=request_id))
    delay = retry_after(error)
    if delay is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=_duration(delay)))
    status = status_pb2.Status(code=code_of(error).value[0], message=_shortened(str(error), _MAX_MESSAGE))
    violations, left_out = _fitting(error, MAX_STATUS_BYTES - _MAX_METADATA_BYTES - _size(status, details))
    details.insert(0, _error_info(error, left_out))
    if violations.ByteSize():
        details.append(violations)
    status.details.extend(_packed(details))
    for packed in _packed([more] if more is not None else []):
        if status.ByteSize() + packed.ByteSize() <= MAX_STATUS_BYTES:
            status.details.append(packed)
    return status


def from_rpc_error(error: grpc.RpcError) -> RulecastError:
    """The error the other side meant. What is no error of ours becomes one by its code, with the reason INTERNAL."""
    code, message = _code_and_message(error)
    kind = _TYPES.get(code, RulecastError)
    details = _details(error)
    info = next((d for d in details if isinstance(d, error_details_pb2.ErrorInfo)), None)
    reason = _reason(info.reason) if info else _reason_of_code(code)
    metadata = dict(info.metadata) if info else {}
    for detail in details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            metadata.setdefault(RETRY_AFTER, f"{_seconds(detail.retry_delay):g}")
    violations = tuple(_violations(details, reason)) or (Violation("", reason, message or code.name),)
    return kind(violations, metadata)


def retry_after(error: RulecastError) -> float | None:
    """In how many seconds it makes sense to try again; None when that is not said."""
    stated = error.metadata.get(RETRY_AFTER)
    if stated is not None:
        return max(0.0, float(stated))
    return DEFAULT_RETRY_AFTER if isinstance(error, Unavailable) else None


def _error_info(error: RulecastError, left_out: int) -> error_details_pb2.ErrorInfo:
    metadata = dict(error.metadata)
    position = next((v.position for v in error.violations if v.position), None)
    if position:
        metadata |= {"line": str(position.line), "column": str(position.column)}
    if left_out:
        metadata["violations_left_out"] = str(left_out)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in reversed(metadata.items()):  # ours stand last and matter most
        if info.ByteSize() < _MAX_METADATA_BYTES - _MAX_VALUE:
            info.metadata[_shortened(key, 64)] = _shortened(value, _MAX_VALUE - 100)
    return info


def _fitting(error: RulecastError, room: int) -> tuple[Message, int]:
    """The violations that fit in `room` bytes, and how many did not."""
    failure = error_details_pb2.PreconditionFailure()
    request = error_details_pb2.BadRequest()
    kept: Message = failure if isinstance(error, FailedPrecondition) else request
    named = [v for v in error.violations if v.field or isinstance(error, FailedPrecondition)]
    for count, violation in enumerate(named):
        field, text = _shortened(violation.field, _MAX_VALUE), _description(violation)
        if isinstance(error, FailedPrecondition):
            added = error_details_pb2.PreconditionFailure(
                violations=[{"type": violation.reason, "subject": field, "description": text}]
            )
        else:
            added = error_details_pb2.BadRequest(
                field_violations=[{"field": field, "description": text, "reason": violation.reason}]
            )
        if kept.ByteSize() + added.ByteSize() > room:
            return kept, len(named) - count
        kept.MergeFrom(added)
    return kept, 0


def _description(violation: Violation) -> str:
    at = f" (line {violation.position.line}, column {violation.position.column})" if violation.position else ""
    return _shortened(violation.message, _MAX_DESCRIPTION) + at


def _violations(details: Iterable[Message], reason: Reason) -> Iterable[Violation]:
    for detail in details:
        if isinstance(detail, error_details_pb2.BadRequest):
            for wrong in detail.field_violations:
                yield _violation(wrong.field, _reason(wrong.reason) if wrong.reason else reason, wrong.description)
        elif isinstance(detail, error_details_pb2.PreconditionFailure):
            for failed in detail.violations:
                yield _violation(failed.subject, _reason(failed.type), failed.description)


def _violation(field: str, reason: Reason, description: str) -> Violation:
    if found := _POSITION.search(description):
        return Violation(field, reason, description[: found.start()], Position(int(found[1]), int(found[2])))
    return Violation(field, reason, description)


def _reason(name: str) -> Reason:
    """A newer peer may know reasons that we do not."""
    return Reason(name) if name in Reason.__members__ else Reason.INTERNAL


def _reason_of_code(code: grpc.StatusCode) -> Reason:
    return Reason.DEADLINE_EXCEEDED if code is grpc.StatusCode.DEADLINE_EXCEEDED else Reason.INTERNAL


def _code_and_message(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(error)


def _details(error: grpc.RpcError) -> list[Message]:
    known = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.RetryInfo,
    )
    found: list[Message] = []
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it only reads what both kinds have
        for packed in status.details if status else ():
            for kind in known:
                if packed.Is(kind.DESCRIPTOR):
                    detail = kind()
                    packed.Unpack(detail)
                    found.append(detail)
    except (ValueError, DecodeError, AttributeError):  # whoever answered is not one of us
        return []
    return found


def _packed(details: Iterable[Message]) -> Iterable[any_pb2.Any]:
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        yield packed


def _size(status: Message, details: Iterable[Message]) -> int:
    return 2 * status.ByteSize() + sum(packed.ByteSize() for packed in _packed(details))


def _shortened(text: str, limit: int) -> str:
    """Valid UTF-8 of at most `limit` bytes."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def _duration(seconds: float) -> duration_pb2.Duration:
    whole, fraction = divmod(seconds, 1)
    return duration_pb2.Duration(seconds=int(whole), nanos=int(fraction * 1e9))


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
