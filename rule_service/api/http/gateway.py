"""The aiohttp handlers that carry HTTP requests to the gRPC server."""

from collections.abc import Awaitable, Callable, Iterable

import grpc
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from rule_service.api.http.bindings import Binding
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.rpc.access import AUTHORIZATION, FORWARDED_PEER
from rulecast.rpc.errors import to_status
from rulecast.rpc.http_gate import retry_header
from rulecast.rpc.interceptors import REQUEST_ID

MAX_BODY_BYTES = 4 * 1024 * 1024
TIMEOUT = 3700.0
"""Seconds: a little more than the longest wait for a rollout."""

_JSON = "application/json"
_CODES = {
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    405: code_pb2.UNIMPLEMENTED,
    413: code_pb2.RESOURCE_EXHAUSTED,
    429: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
}
_TOLD = ("Allow", "Retry-After", "WWW-Authenticate")
"""Headers of a refusal that say what would be right."""


def gateway_routes(bindings: Iterable[Binding], channel: grpc.aio.Channel) -> list[web.RouteDef]:
    """One route for each binding; those with a custom verb (`:wait`) first, since they are the more specific."""
    ordered = sorted(bindings, key=lambda each: (":" not in each.path.rpartition("/")[2], each.path))
    return [web.route(each.verb, each.route, _handler(each, channel)) for each in ordered]


@web.middleware
async def json_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers what is refused before there is an RPC (no such path, body too large) in the one shape of all errors."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        code = _CODES.get(refused.status, code_pb2.INVALID_ARGUMENT)
        message = f"{request.method} {request.path}: {refused.reason}"
        _, body = encode_error(status_pb2.Status(code=code, message=message), refused.status)
        told = {name: refused.headers[name] for name in _TOLD if name in refused.headers}
        return web.Response(status=refused.status, body=body, content_type=_JSON, headers=told)


def _handler(binding: Binding, channel: grpc.aio.Channel) -> Callable[[web.Request], Awaitable[web.Response]]:
    call: grpc.aio.UnaryUnaryMultiCallable[Message, Message] = channel.unary_unary(
        binding.method,
        request_serializer=binding.request.SerializeToString,
        response_deserializer=binding.response.FromString,
    )

    async def handle(request: web.Request) -> web.Response:
        path = {field: request.match_info[f"v{at}"] for at, field in enumerate(binding.variables)}
        given = await request.read()
        try:
            message = decode_request(binding, path, request.query.items(), given)
            response = await call(message, timeout=TIMEOUT, metadata=_metadata(request))
        except grpc.aio.AioRpcError as error:
            return _failed(_status_of(error))
        except Exception as error:  # whatever it is, it is told in the one shape of all errors
            return _failed(to_status(error))
        return web.Response(body=encode_response(binding, response), content_type=_JSON)

    return handle


def _metadata(request: web.Request) -> grpc.aio.Metadata:
    """What the caller says of itself, and where it is: to gRPC all of HTTP comes from one socket."""
    said = [(key, request.headers.get(key, "")) for key in (REQUEST_ID, AUTHORIZATION)]
    sent = [(key, value) for key, value in said if value and value.isascii() and value.isprintable()]
    return grpc.aio.Metadata(*sent, (FORWARDED_PEER, request.remote or "unknown"))


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    stated = rpc_status.from_call(error)  # type: ignore[arg-type]  # it only reads what both kinds have
    return stated or status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def _failed(status: status_pb2.Status) -> web.Response:
    http_status, body = encode_error(status)
    return web.Response(status=http_status, body=body, content_type=_JSON, headers=_headers(status))


def _headers(status: status_pb2.Status) -> dict[str, str]:
    """What HTTP says by a header: who has to say who they are, and when it makes sense to try again."""
    headers = {"WWW-Authenticate": "Bearer"} if status.code == code_pb2.UNAUTHENTICATED else {}
    for packed in status.details:
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(retry):
            headers["Retry-After"] = retry_header(retry.retry_delay.ToMilliseconds() / 1000)
    return headers
