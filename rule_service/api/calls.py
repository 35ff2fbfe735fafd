"""What every handler shares: options of a write, pages, ids, who calls."""

import base64
import binascii
import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from rule_service.domain.names import check_text
from rule_service.usecases.change import Capture, WriteOptions
from rule_service.usecases.ports_changes import Request
from rule_service.usecases.rollout import Until
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.rpc.access import caller_now, host_of
from rulecast.v1 import common_pb2

Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_WAIT = 60.0
"""Seconds that a call waits for a rollout when it does not say."""
MAX_WAIT = 3600.0
PAGE_SIZE = 100
MAX_PAGE_SIZE = 10_000
"""That the settings of `limits` can allow at most."""
MAX_REASON = 1000
"""Characters."""
MAX_REQUEST_ID = 100
"""Characters."""
_HOW = frozenset({"validate_only", "wait_for", "wait_timeout", "request_id", "reason"})
"""Fields of a create that say nothing about what is to be created."""
_SHARE_OF_DEADLINE = 0.9
"""Of the caller's deadline: the answer must still reach it."""


class PreviewContext:
    """Stands in for the context of a call whose write is only previewed: what comes of it goes into `capture`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.capture = Capture()

    def __getattr__(self, name: str) -> Any:
        """In all else it is that context."""
        return getattr(self._context, name)


class WriteRequest(Protocol):
    @property
    def validate_only(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class OwnerRequest(Protocol):
    @property
    def owner(self) -> str: ...
    def HasField(self, field_name: Literal["owner"], /) -> bool: ...


class WaitingRequest(WriteRequest, Protocol):
    @property
    def wait_for(self) -> common_pb2.WaitFor.ValueType: ...
    @property
    def wait_timeout(self) -> Duration: ...


def write_options(request: WriteRequest, method: str, context: Context) -> WriteOptions:
    """The options of a write that can not wait."""
    check_text(request.reason, "reason", MAX_REASON)
    capture = context.capture if isinstance(context, PreviewContext) else None
    return WriteOptions(
        caller(context),
        method,
        request.validate_only,
        reason=request.reason,
        capture=capture,
        namespaces=editable_namespaces(),
    )


def waiting_options(request: WaitingRequest, method: str, context: Context) -> WriteOptions:
    """The options of a write that can wait for its rollout."""
    options = write_options(request, method, context)
    if request.wait_for in (common_pb2.WAIT_FOR_UNSPECIFIED, common_pb2.COMMITTED):
        return options
    until = wait_until(request.wait_for, "COMMITTED, ACTIVE or ACTIVE_OR_REFUSED")
    timeout = wait_seconds(request.wait_timeout, "wait_timeout", context)
    return replace(options, wait_timeout=timeout, wait_until=until)


def wait_until(asked: common_pb2.WaitFor.ValueType, values: str) -> Until:
    """How far a rollout is to be waited for. values: those that are allowed, for who says another one."""
    match asked:
        case common_pb2.ACTIVE:
            return Until.KNOWN
        case common_pb2.ACTIVE_OR_REFUSED:
            return Until.FINAL
        case _:
            raise InvalidInput.of(
                "wait_for", Reason.FIELD_INVALID, f"{asked} is not one of the values there are: use {values}"
            )


def once(options: WriteOptions, request: Message, request_id: str) -> WriteOptions:
    """The options of a create that changes nothing when it is repeated; without an id as they are."""
    if not request_id:
        return options
    check_text(request_id, "request_id", MAX_REQUEST_ID)
    return replace(options, request=Request(request_id, _digest(request)))


def _digest(request: Message) -> bytes:
    """Of what is to be created, not of how."""
    what = type(request)()
    what.CopyFrom(request)
    for name in _HOW & set(what.DESCRIPTOR.fields_by_name):
        what.ClearField(name)
    return hashlib.sha256(what.SerializeToString(deterministic=True)).digest()


def wait_seconds(duration: Duration, field: str, context: Context) -> float:
    """How long to wait: as asked, by default a minute, and never past the caller's deadline."""
    asked = duration.seconds + duration.nanos / 1e9 or DEFAULT_WAIT
    if not 0 < asked <= MAX_WAIT:
        raise InvalidInput.of(
            field, Reason.FIELD_INVALID, f"{asked:g} s: wait more than 0 s and at most {MAX_WAIT:g} s"
        )
    remaining: float | None = context.time_remaining()  # the types do not say that it may be None
    return min(asked, math.inf if remaining is None else remaining * _SHARE_OF_DEADLINE)


def caller(context: Context) -> str:
    """Who calls: the name of their token; the address of their host where nobody has to say who they are."""
    known = caller_now()
    if known is not None:
        return known.name
    return host_of(context.peer() or "", context.invocation_metadata() or ())


def editable_namespaces() -> frozenset[str] | None:
    """What the caller may edit: None means everything, and is so where nobody has to say who they are."""
    known = caller_now()
    return known.namespaces if known is not None else None


def batch_ids(ids: Sequence[str]) -> Sequence[str]:
    """The ids of a batch. Raises InvalidInput for none or too many."""
    if not 0 < len(ids) <= MAX_PAGE_SIZE:
        raise InvalidInput.of("ids", Reason.FIELD_INVALID, f"{len(ids)} ids: name 1 to {MAX_PAGE_SIZE}")
    return ids


def owner_filter(request: OwnerRequest) -> str | None:
    """The owner to list; "" is that of what belongs to none, None is any."""
    return request.owner if request.HasField("owner") else None


def page_size(asked: int, default: int = PAGE_SIZE, largest: int = MAX_PAGE_SIZE) -> int:
    """Raises InvalidInput for a size out of bounds; 0 is the default."""
    if not 0 <= asked <= largest:
        raise InvalidInput.of("page_size", Reason.FIELD_INVALID, f"{asked}: say 1 to {largest}, or 0 for {default}")
    return asked or default


def page_token(after: str | None) -> str:
    """The token of the page that begins after this id; empty where there is none."""
    return base64.urlsafe_b64encode(b"a" + after.encode()).decode().rstrip("=") if after is not None else ""


def page_after(token: str) -> str:
    """The id after which a page begins; "" for the first. Raises InvalidInput for a token that we never made."""
    if not token:
        return ""
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if decoded[:1] == b"a" and b"\0" not in decoded:
            return decoded[1:].decode()
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput.of(
        "page_token",
        Reason.PAGE_TOKEN_INVALID,
        "this is no page token: use `next_page_token` of the page before as it is",
    )


def new_id(kind: str) -> str:
    """An id for a resource whose caller did not choose one."""
    return f"{kind}-{secrets.token_hex(8)}"
