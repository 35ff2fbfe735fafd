"""Limits that an operator sets: how much one request may hold, and how many calls are worked on at once.

They are checked here, before a handler sees the request, by the names of its fields: what is called `labels` is bounded
by the setting `limits.labels`, wherever in a request it stands.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from rulecast.errors import LimitExceeded
from rulecast.reasons import Reason

if TYPE_CHECKING:  # grpc's classes are generic in their stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

_OURS = "/rulecast."
_ALIASES = {"ids": "rules_per_call", "rule_ids": "rules_per_call"}
_RULE_FILES = "rulecast.v1.ListRuleFilesRequest.page_size"
"""Has bounds of its own: a page of facts about files is small."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Each is named after the setting below `limits` that says it."""

    request_bytes: int
    page_size: int
    rules_per_call: int
    labels: int
    annotations: int
    parameters: int
    exporters: int

    def check(self, request: Message) -> None:
        """Raises LimitExceeded (TOO_LARGE) with the field, the limit and the setting."""
        size = request.ByteSize()
        if size > self.request_bytes:
            raise _exceeded("", f"the request has {size} bytes", self.request_bytes, "request_bytes")
        self._check_fields(request, "")

    def _check_fields(self, message: Message, path: str) -> None:
        for field, value in message.ListFields():
            place = f"{path}.{field.name}".removeprefix(".")
            setting = _ALIASES.get(field.name, field.name)
            limit: int | None = getattr(self, setting, None)
            if limit is not None and field.full_name != _RULE_FILES:
                count = len(value) if field.is_repeated else value if isinstance(value, int) else 0
                if count > limit:
                    raise _exceeded(place, f"it has {count}" if field.is_repeated else f"it is {count}", limit, setting)
            for at, inner in _messages(field, value):
                self._check_fields(inner, f"{place}{at}")


class Limiter(grpc.aio.ServerInterceptor):
    """Refuses what is over a limit. Stands behind the interceptor that turns errors into a status.

    calls_at_once: unary calls and watches of ours; the streams of deployers have a limit of their own.
    """

    def __init__(self, limits: RequestLimits, calls_at_once: int) -> None:
        self._limits = limits
        self._calls_at_once = calls_at_once
        self._running = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming or not handler_call_details.method.startswith(_OURS):
            return handler
        return self._watch(handler) if handler.response_streaming else self._call(handler)

    def _call(self, handler: "Handler") -> "Handler":
        behavior: Any = handler.unary_unary

        async def limited(request: Message, context: Any) -> Any:
            with self._one_more():
                self._limits.check(request)
                return await behavior(request, context)

        return grpc.unary_unary_rpc_method_handler(limited, handler.request_deserializer, handler.response_serializer)

    def _watch(self, handler: "Handler") -> "Handler":
        behavior: Any = handler.unary_stream
        assert inspect.isasyncgenfunction(behavior), "ours are generators"

        async def limited(request: Message, context: Any) -> AsyncIterator[Any]:
            with self._one_more():
                self._limits.check(request)
                async for answer in behavior(request, context):
                    yield answer

        return grpc.unary_stream_rpc_method_handler(limited, handler.request_deserializer, handler.response_serializer)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        if self._running >= self._calls_at_once:
            limit = self._calls_at_once
            raise LimitExceeded.of(
                "",
                Reason.TOO_MANY_CALLS,
                f"{limit} calls are worked on already, those that wait for a rollout too: try again. The setting "
                "limits.calls_at_once of the rule service is the limit",
                limit=str(limit),
                setting="limits.calls_at_once",
                retry_after="1",
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def _messages(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Message]]:
    """The messages that a field holds, each with its place in it."""
    if field.message_type is None or field.message_type.full_name.startswith("google."):
        return
    if field.message_type.GetOptions().map_entry:
        return  # no map of ours holds messages of ours
    if field.is_repeated:
        yield from ((f"[{at}]", each) for at, each in enumerate(value))
    else:
        yield "", value


def _exceeded(path: str, what: str, limit: int, setting: str) -> LimitExceeded:
    message = f"{what}: at most {limit} is allowed. The setting limits.{setting} of the rule service is the limit"
    return LimitExceeded.of(path, Reason.TOO_LARGE, message, limit=str(limit), setting=f"limits.{setting}")
