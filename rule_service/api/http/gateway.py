"""The aiohttp handlers that carry HTTP requests to the gRPC server."""

import math
from collections.abc import Awaitable, Callable, Iterable

import grpc
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rule_service.api.http.bindings import Binding
from rule_service.api.http.refusals import JSON, TIMEOUT_HEADER, check_media_type, timeout_of
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.errors import DeadlineExceeded, InvalidInput
from rulecast.reasons import Reason
from rulecast.rpc.errors import to_status
from rulecast.rpc.interceptors import REQUEST_ID

TIMEOUT = 3700.0
"""Seconds: a little more than the longest wait for a rollout."""

_NEXT = "next_page_token"


def gateway_routes(bindings: Iterable[Binding], channel: grpc.aio.Channel) -> list[web.RouteDef]:
    """One route for each binding; those with a custom verb (`:wait`) first, since they are the more specific."""
    ordered = sorted(bindings, key=lambda each: (":" not in each.path.rpartition("/")[2], each.path))
    return [web.route(each.verb, each.route, _handler(each, channel)) for each in ordered]


def _handler(binding: Binding, channel: grpc.aio.Channel) -> Callable[[web.Request], Awaitable[web.Response]]:
    call: grpc.aio.UnaryUnaryMultiCallable[Message, Message] = channel.unary_unary(
        binding.method,
        request_serializer=binding.request.SerializeToString,
        response_deserializer=binding.response.FromString,
    )

    async def handle(request: web.Request) -> web.Response:
        path = {field: request.match_info[f"v{at}"] for at, field in enumerate(binding.variables)}
        check_media_type(request)
        try:
            message = decode_request(binding, path, request.query.items(), await _body(request))
            timeout = timeout_of(request, TIMEOUT)
            # a client that goes away cancels this handler, and with it the call
            response = await call(message, timeout=timeout, metadata=_metadata(request))
            body = encode_response(binding, response)
        except grpc.aio.AioRpcError as error:
            return _failed(_status_of(error))
        except web.HTTPException:
            raise
        except Exception as error:  # whatever it is, it is told in the one shape of all errors
            return _failed(to_status(error))
        return web.Response(body=body, content_type=JSON, headers=_next_page(binding, request, response))

    return handle


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
    request_id = request.headers.get(REQUEST_ID, "")
    return grpc.aio.Metadata(*([(REQUEST_ID, request_id)] if request_id.isprintable() and request_id else []))


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
    return web.Response(status=http_status, body=body, content_type=JSON, headers=_retry_after(status))


def _retry_after(status: status_pb2.Status) -> dict[str, str]:
    for packed in status.details:
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(retry):
            return {"Retry-After": str(math.ceil(retry.retry_delay.ToTimedelta().total_seconds()))}
    return {}
