"""The aiohttp handlers that carry HTTP requests to the gRPC server."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable

import grpc
import structlog
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from rule_service.api.http.bindings import Binding
from rule_service.api.http.refusals import JSON, TIMEOUT_HEADER, check_media_type, timeout_of
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.errors import DeadlineExceeded, InvalidInput, RulecastError
from rulecast.reasons import Reason
from rulecast.rpc.access import AUTHORIZATION, FORWARDED_PEER
from rulecast.rpc.errors import meant, to_status
from rulecast.rpc.http_gate import retry_header
from rulecast.rpc.interceptors import REQUEST_ID, request_id_of
from rulecast.tracing import TRACEPARENT

TIMEOUT = 3700.0
"""Seconds: a little more than the longest wait for a rollout."""

WRITTEN_INLINE = 64 * 1024
"""Bytes of a message that is written as JSON in about 10 ms."""

_NEXT = "next_page_token"
_PARENT_FORM = re.compile(r"[0-9a-f-]{55,128}")
_ID = web.RequestKey(REQUEST_ID, str)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

Refused = Callable[[RulecastError], None]


def gateway_routes(
    bindings: Iterable[Binding], channel: grpc.aio.Channel, refused: Refused = lambda _: None
) -> list[web.RouteDef]:
    """One route for each binding; those with a custom verb (`:wait`) first, since they are the more specific.

    refused: is told of each request that is not even a message, so that no RPC came of it.
    """
    ordered = sorted(bindings, key=lambda each: (":" not in each.path.rpartition("/")[2], each.path))
    return [web.route(each.verb, each.route, _handler(each, channel, refused)) for each in ordered]


@web.middleware
async def request_ids(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Takes the client's request id or makes one: for the RPC, for all lines of the call, and for the answer."""
    id = request[_ID] = request_id_of(request.headers.items())
    with structlog.contextvars.bound_contextvars(request_id=id):
        answer = await handler(request)
    if not answer.prepared:
        answer.headers[REQUEST_ID] = id
    return answer


def _handler(
    binding: Binding, channel: grpc.aio.Channel, refused: Refused
) -> Callable[[web.Request], Awaitable[web.Response]]:
    call: grpc.aio.UnaryUnaryMultiCallable[Message, Message] = channel.unary_unary(
        binding.method,
        request_serializer=binding.request.SerializeToString,
        response_deserializer=binding.response.FromString,
    )

    async def handle(request: web.Request) -> web.Response:
        path = {field: request.match_info[f"v{at}"] for at, field in enumerate(binding.variables)}
        id = request[_ID]
        check_media_type(request)
        try:
            message = decode_request(binding, path, request.query.items(), await _body(request))
            timeout = timeout_of(request, TIMEOUT)
            # a client that goes away cancels this handler, and with it the call
            response = await call(message, timeout=timeout, metadata=_metadata(request))
            body = await _encoded(binding, response)
        except grpc.aio.AioRpcError as error:
            return _failed(_status_of(error))
        except web.HTTPException:
            raise
        except Exception as failure:  # whatever it is, it is told in the one shape of all errors
            why = meant(failure, id)
            refused(why)
            _log.info("http request refused", method=binding.method, reason=why.reason, error=str(why))
            return _failed(to_status(why, id))
        return web.Response(body=body, content_type=JSON, headers=_next_page(binding, request, response))

    return handle


async def _encoded(binding: Binding, response: Message) -> bytes:
    """A large answer is written beside the event loop: the targets of a Prometheus take half a second."""
    if response.ByteSize() > WRITTEN_INLINE:
        return await asyncio.to_thread(encode_response, binding, response)
    return encode_response(binding, response)


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.RequestPayloadError as error:
        message = f"the body can not be read: {error}; send it as Transfer-Encoding says"
        raise InvalidInput.of("", Reason.FIELD_INVALID, message) from None


def _next_page(binding: Binding, request: web.Request, response: Message) -> dict[str, str]:
    """Where an answer is only the list (`response_body`), the next page's address is a header (RFC 8288)."""
    token: str = getattr(response, _NEXT, "") if binding.response_body else ""
    return {"Link": f'<{request.rel_url.update_query(page_token=token)}>; rel="next"'} if token else {}


def _metadata(request: web.Request) -> grpc.aio.Metadata:
    """What the caller says of itself, and where it is: to gRPC all of HTTP comes from one socket."""
    said, parent = request.headers.get(AUTHORIZATION, ""), request.headers.get(TRACEPARENT, "")
    token = [(AUTHORIZATION, said)] if said and said.isascii() and said.isprintable() else []
    trace = [(TRACEPARENT, parent)] if _PARENT_FORM.fullmatch(parent) else []
    return grpc.aio.Metadata((REQUEST_ID, request[_ID]), *token, *trace, (FORWARDED_PEER, request.remote or "unknown"))


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    stated = rpc_status.from_call(error)  # type: ignore[arg-type]  # it only reads what both kinds have
    if stated is None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = (
            f"the call took longer than {TIMEOUT_HEADER} allows, and was cancelled: read what there is, then retry"
        )
        return to_status(DeadlineExceeded.of("", Reason.DEADLINE_EXCEEDED, message))
    return stated or status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def _failed(status: status_pb2.Status) -> web.Response:
    http_status, body = encode_error(status)
    return web.Response(status=http_status, body=body, content_type=JSON, headers=_headers(status))


def _headers(status: status_pb2.Status) -> dict[str, str]:
    """What HTTP says by a header: who has to say who they are, and when it makes sense to try again."""
    headers = {"WWW-Authenticate": "Bearer"} if status.code == code_pb2.UNAUTHENTICATED else {}
    for packed in status.details:
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(retry):
            headers["Retry-After"] = retry_header(retry.retry_delay.ToMilliseconds() / 1000)
    return headers
