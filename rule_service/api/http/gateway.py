"""The aiohttp handlers that carry HTTP requests to the gRPC server."""

import re
from collections.abc import Awaitable, Callable, Iterable

import grpc
import structlog
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from rule_service.api.http.bindings import Binding
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.errors import RulecastError
from rulecast.rpc.errors import meant, to_status
from rulecast.rpc.interceptors import REQUEST_ID, request_id_of
from rulecast.tracing import TRACEPARENT

MAX_BODY_BYTES = 4 * 1024 * 1024
TIMEOUT = 3700.0
"""Seconds: a little more than the longest wait for a rollout."""

_JSON = "application/json"
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
        given = await request.read()
        try:
            message = decode_request(binding, path, request.query.items(), given)
            response = await call(message, timeout=TIMEOUT, metadata=_metadata(request))
        except grpc.aio.AioRpcError as error:
            return _failed(_status_of(error))
        except Exception as failure:  # whatever it is, it is told in the one shape of all errors
            why = meant(failure, id)
            refused(why)
            _log.info("http request refused", method=binding.method, reason=why.reason, error=str(why))
            return _failed(to_status(why, id))
        return web.Response(body=encode_response(binding, response), content_type=_JSON)

    return handle


def _metadata(request: web.Request) -> grpc.aio.Metadata:
    parent = request.headers.get(TRACEPARENT, "")
    trace = [(TRACEPARENT, parent)] if _PARENT_FORM.fullmatch(parent) else []
    return grpc.aio.Metadata((REQUEST_ID, request[_ID]), *trace)


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    stated = rpc_status.from_call(error)  # type: ignore[arg-type]  # it only reads what both kinds have
    return stated or status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def _failed(status: status_pb2.Status) -> web.Response:
    http_status, body = encode_error(status)
    return web.Response(status=http_status, body=body, content_type=_JSON)
