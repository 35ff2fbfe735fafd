"""The aiohttp handlers that carry HTTP requests to the gRPC server."""

from collections.abc import Awaitable, Callable, Iterable

import grpc
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from rule_service.api.http.bindings import Binding
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.rpc.errors import to_status
from rulecast.rpc.interceptors import REQUEST_ID

MAX_BODY_BYTES = 4 * 1024 * 1024
TIMEOUT = 3700.0
"""Seconds: a little more than the longest wait for a rollout."""

_JSON = "application/json"


def gateway_routes(bindings: Iterable[Binding], channel: grpc.aio.Channel) -> list[web.RouteDef]:
    """One route for each binding; those with a custom verb (`:wait`) first, since they are the more specific."""
    ordered = sorted(bindings, key=lambda each: (":" not in each.path.rpartition("/")[2], each.path))
    return [web.route(each.verb, each.route, _handler(each, channel)) for each in ordered]


@web.middleware
async def json_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers what aiohttp refuses (no such path, wrong verb, body too large) in the one shape of all errors."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        code = {404: code_pb2.NOT_FOUND, 405: code_pb2.UNIMPLEMENTED, 413: code_pb2.RESOURCE_EXHAUSTED}.get(
            refused.status, code_pb2.INVALID_ARGUMENT
        )
        message = f"{request.method} {request.path}: {refused.reason}"
        _, body = encode_error(status_pb2.Status(code=code, message=message), refused.status)
        allowed = {"Allow": refused.headers["Allow"]} if "Allow" in refused.headers else {}
        return web.Response(status=refused.status, body=body, content_type=_JSON, headers=allowed)


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
    request_id = request.headers.get(REQUEST_ID, "")
    return grpc.aio.Metadata(*([(REQUEST_ID, request_id)] if request_id.isprintable() and request_id else []))


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    stated = rpc_status.from_call(error)  # type: ignore[arg-type]  # it only reads what both kinds have
    return stated or status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def _failed(status: status_pb2.Status) -> web.Response:
    http_status, body = encode_error(status)
    return web.Response(status=http_status, body=body, content_type=_JSON)
