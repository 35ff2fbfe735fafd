"""What happens around every RPC that a server handles: errors become status, calls are logged and counted."""

import inspect
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry, Counter, Histogram

from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.rpc.errors import to_status

REQUEST_ID: Final = "x-request-id"
"""Metadata key. A client may send one (up to 128 visible ASCII characters); otherwise one is made."""

_REQUEST_ID_FORM: Final = re.compile(r"[!-~]{1,128}")
_QUIET: Final = ("/grpc.health.", "/grpc.reflection.")
_OURS_TO_MEND: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_log = structlog.get_logger()

if TYPE_CHECKING:  # grpc's classes are generic in their stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]


class RpcMetrics:
    """The usual three metrics of a gRPC server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter("grpc_server_started_total", "RPCs started.", ["grpc_method"], registry=registry)
        self._handled = Counter(
            "grpc_server_handled_total", "RPCs ended, by status code.", ["grpc_method", "grpc_code"], registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "From the start of an RPC to its end, in seconds; of a stream, its life.",
            ["grpc_method"],
            registry=registry,
            buckets=_SECONDS,
        )

    def started(self, method: str) -> None:
        self._started.labels(method).inc()

    def ended(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        self._handled.labels(method, code.name).inc()
        self._seconds.labels(method).observe(seconds)


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler, unary or streaming, generator or `context.write`.

    A RulecastError, or whatever else a handler raises, becomes a status with details. CancelledError passes through:
    swallowing it leaks memory in grpcio 1.85. Handlers have to be async.

    detail: the service's own detail of an error, if it has one.
    """

    def __init__(self, metrics: RpcMetrics, detail: Callable[[Exception], Message | None] = lambda _: None) -> None:
        self._metrics = metrics
        self._detail = detail

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # no such method: grpc answers UNIMPLEMENTED
        request_id = _request_id(handler_call_details)
        return self._wrapped(handler, handler_call_details.method, request_id)

    def _wrapped(self, handler: "Handler", method: str, request_id: str) -> "Handler":
        kind = "_".join(
            "stream" if streaming else "unary" for streaming in (handler.request_streaming, handler.response_streaming)
        )
        behavior = getattr(handler, kind)
        # one request is read in here, since grpc answers UNKNOWN where its own reading fails
        of_stream, of_one = (
            (handler.request_deserializer, None) if handler.request_streaming else (None, handler.request_deserializer)
        )

        async def answer_once(request: Any, context: "Context") -> Any:
            async with self._observed(method, request_id, context):
                return await behavior(_read(request, of_one), context)

        async def answer_many(request: Any, context: "Context") -> None:
            async with self._observed(method, request_id, context):
                answers = behavior(_read(request, of_one), context)
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
    async def _observed(self, method: str, request_id: str, context: "Context") -> AsyncIterator[None]:
        start = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        self._metrics.started(method)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                yield
                code = _code(context)
            except grpc.aio.AbortError:
                code = _code(context)
                raise
            except Exception as error:
                status = rpc_status.to_status(to_status(error, request_id, self._detail(error)))
                code = status.code
                await context.abort_with_status(status)
            finally:
                seconds = time.perf_counter() - start
                self._metrics.ended(method, code, seconds)
                _log_access(method, code, seconds, context.peer())


def _read(request: Any, deserializer: Callable[[bytes], Any] | None) -> Any:
    """The message that these bytes are. Without a deserializer it is one already, or a stream of them."""
    if deserializer is None:
        return request
    try:
        return deserializer(request)
    except DecodeError as error:
        message = f"the request can not be read: {error}; send the message of this method, its texts in UTF-8"
        raise InvalidInput.of("", Reason.FIELD_INVALID, message) from None


def _log_access(method: str, code: grpc.StatusCode, seconds: float, peer: str) -> None:
    level = "debug" if method.startswith(_QUIET) else "error" if code in _OURS_TO_MEND else "info"
    getattr(_log, level)("rpc", method=method, code=code.name, seconds=round(seconds, 6), peer=peer)


def _code(context: "Context") -> grpc.StatusCode:
    """The code that a handler set by itself: a member, or an int whatever the types say; OK when it set none."""
    found: Any = context.code()
    if isinstance(found, grpc.StatusCode):
        return found
    return next((code for code in grpc.StatusCode if code.value[0] == found), grpc.StatusCode.OK)


def _request_id(details: grpc.HandlerCallDetails) -> str:
    for key, value in details.invocation_metadata or ():
        if key == REQUEST_ID and isinstance(value, str) and _REQUEST_ID_FORM.fullmatch(value):
            return value
    return uuid.uuid4().hex
