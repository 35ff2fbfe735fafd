"""What happens around every RPC that a server handles: errors become status, calls are logged and counted."""

import inspect
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from rulecast import tracing
from rulecast.errors import InvalidInput, RulecastError
from rulecast.reasons import Reason
from rulecast.rpc.access import Metadata
from rulecast.rpc.errors import meant, to_status
from rulecast.rpc.gate import Call, Gate
from rulecast.rpc.metrics import RpcMetrics, labels_of

REQUEST_ID: Final = "x-request-id"
"""Metadata key and HTTP header. A client may send one (up to 128 visible ASCII characters); otherwise one is made.

It is in every line that is logged for the call, and is answered in the trailing metadata, or the HTTP header.
"""

_REQUEST_ID_FORM: Final = re.compile(r"[!-~]{1,128}")
_QUIET: Final = ("/grpc.health.", "/grpc.reflection.", "/rulecast.v1.DiscoveryService/")
"""What machines ask every few seconds: worth a line where it is refused."""
_OURS_TO_MEND: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})

_log = structlog.get_logger()

if TYPE_CHECKING:  # grpc's classes are generic in their stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler, unary or streaming, generator or `context.write`.

    A RulecastError, or whatever else a handler raises, becomes a status with details. CancelledError passes through:
    swallowing it leaks memory in grpcio 1.85. Handlers have to be async.

    gate: asked before anything of a call is read; the default lets everybody in. detail: the service's own detail of
    an error, if it has one.
    """

    def __init__(
        self,
        metrics: RpcMetrics,
        gate: Gate | None = None,
        detail: Callable[[Exception], Message | None] = lambda _: None,
    ) -> None:
        self._metrics = metrics
        self._gate = gate or Gate({})
        self._detail = detail

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # no such method: grpc answers UNIMPLEMENTED
        metadata = tuple(handler_call_details.invocation_metadata or ())
        seen = _Seen(
            handler_call_details.method,
            labels_of(
                handler_call_details.method,
                request_streaming=handler.request_streaming,
                response_streaming=handler.response_streaming,
            ),
            request_id_of(metadata),
            next((str(value) for key, value in metadata if key == tracing.TRACEPARENT), ""),
            metadata,
        )
        return self._wrapped(handler, seen)

    def _wrapped(self, handler: "Handler", seen: "_Seen") -> "Handler":
        kind = "_".join(
            "stream" if streaming else "unary" for streaming in (handler.request_streaming, handler.response_streaming)
        )
        behavior = getattr(handler, kind)
        # one request is read in here, since grpc answers UNKNOWN where its own reading fails
        of_stream, of_one = (
            (handler.request_deserializer, None) if handler.request_streaming else (None, handler.request_deserializer)
        )

        async def answer_once(request: Any, context: "Context") -> Any:
            call = Call(seen.method, seen.metadata, context.peer())
            async with self._observed(seen, context), self._gate.admitted(call):
                call.request = _read(request, of_one)
                call.response = await behavior(call.request, context)
                return call.response

        async def answer_many(request: Any, context: "Context") -> None:
            call = Call(seen.method, seen.metadata, context.peer())
            async with self._observed(seen, context), self._gate.admitted(call):
                await self._gate.hold(call, answer(_read(request, of_one), context))

        async def answer(request: Any, context: "Context") -> None:
            answers = behavior(request, context)
            if inspect.isasyncgenfunction(behavior):
                async for response in answers:
                    await context.write(response)
            else:
                await answers

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapper = answer_many if handler.response_streaming else answer_once
        wrapped: Handler = make(wrapper, of_stream, handler.response_serializer)
        return wrapped

    @asynccontextmanager
    async def _observed(self, seen: "_Seen", context: "Context") -> AsyncIterator[None]:
        start = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        refused: RulecastError | None = None
        self._metrics.started(seen.labels)
        context.set_trailing_metadata(((REQUEST_ID, seen.request_id),))
        with structlog.contextvars.bound_contextvars(request_id=seen.request_id), seen.span() as span:
            try:
                yield
                code = _code(context)
            except grpc.aio.AbortError:
                code = _code(context)
                raise
            except Exception as error:
                refused = meant(error, seen.request_id)
                self._metrics.refused(seen.service, refused)
                status = rpc_status.to_status(to_status(refused, seen.request_id, self._detail(error)))
                code = status.code
                trailing = (*(status.trailing_metadata or ()), (REQUEST_ID, seen.request_id))
                await context.abort(status.code, status.details, trailing)
            finally:
                seconds = time.perf_counter() - start
                self._metrics.ended(seen.labels, code, seconds)
                span.note(code=code.name)
                _log_access(seen.method, code, refused, seconds, context.peer())


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a call before it is read. labels: see `labels_of`. parent: the client's traceparent."""

    method: str
    labels: tuple[str, str, str]
    request_id: str
    parent: str
    metadata: Metadata

    @property
    def service(self) -> str:
        return self.labels[1]

    def span(self) -> AbstractContextManager[tracing.Span]:
        """Not for streams, which live for half an hour, nor for what is asked every few seconds."""
        if self.labels[0] != "unary" or self.method.startswith(_QUIET):
            return nullcontext(tracing.NOTHING)
        return tracing.span(self.method.lstrip("/"), self.parent, root=True, request_id=self.request_id)


def _read(request: Any, deserializer: Callable[[bytes], Any] | None) -> Any:
    """The message that these bytes are. Without a deserializer it is one already, or a stream of them."""
    if deserializer is None:
        return request
    try:
        return deserializer(request)
    except DecodeError as error:
        message = f"the request can not be read: {error}; send the message of this method, its texts in UTF-8"
        raise InvalidInput.of("", Reason.FIELD_INVALID, message) from None


def _log_access(method: str, code: grpc.StatusCode, refused: RulecastError | None, seconds: float, peer: str) -> None:
    level = "debug" if method.startswith(_QUIET) and refused is None else "error" if code in _OURS_TO_MEND else "info"
    why = {} if refused is None else {"reason": refused.reason, "field": refused.violations[0].field}
    getattr(_log, level)("rpc", method=method, code=code.name, **why, seconds=round(seconds, 6), peer=peer)


def _code(context: "Context") -> grpc.StatusCode:
    """The code that a handler set by itself: a member, or an int whatever the types say; OK when it set none."""
    found: Any = context.code()
    if isinstance(found, grpc.StatusCode):
        return found
    return next((code for code in grpc.StatusCode if code.value[0] == found), grpc.StatusCode.OK)


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The id that the client has sent, or a new one."""
    for key, value in metadata:
        if key.lower() == REQUEST_ID and isinstance(value, str) and _REQUEST_ID_FORM.fullmatch(value):
            return value
    return uuid.uuid4().hex
