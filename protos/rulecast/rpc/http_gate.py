"""The gate for what is served over HTTP and is no RPC."""

import math
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Middleware

from rulecast.errors import RulecastError, Unauthenticated
from rulecast.reasons import Reason
from rulecast.rpc.access import Access
from rulecast.rpc.errors import code_of, retry_after
from rulecast.rpc.gate import Call, Gate

HEALTH = "/health"
"""What begins with it needs no certificate: whoever looks whether a process lives has none."""

_REFUSED: Mapping[str, type[web.HTTPException]] = {
    "UNAUTHENTICATED": web.HTTPUnauthorized,
    "PERMISSION_DENIED": web.HTTPForbidden,
    "RESOURCE_EXHAUSTED": web.HTTPTooManyRequests,
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(gate: Gate, needs: Mapping[str, Access], *, certificate: bool) -> Middleware:
    """needs: by path; one that is not in it needs nothing here. certificate: whether clients have to show one."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        call = Call(request.path, tuple(request.headers.items()), f"{request.remote or 'unknown'}:")
        try:
            async with gate.admitted(call, needs.get(request.path, Access.OPEN)):
                if certificate and not request.path.startswith(HEALTH):
                    _check_certificate(request)
        except RulecastError as error:
            raise _refusal(error) from error
        return await handler(request)

    return guard


def _check_certificate(request: web.Request) -> None:
    # one that was shown was verified when the connection was made
    if not request.get_extra_info("peercert"):
        message = "this needs a client certificate, of an authority that the service knows (`tls.client_ca`)"
        raise Unauthenticated.of("", Reason.CERTIFICATE_MISSING, message)


def _refusal(error: RulecastError) -> web.HTTPException:
    kind = _REFUSED.get(code_of(error).name, web.HTTPServiceUnavailable)
    headers = {"WWW-Authenticate": "Bearer"} if kind is web.HTTPUnauthorized else {}
    if (delay := retry_after(error)) is not None:
        headers["Retry-After"] = retry_header(delay)
    return kind(reason=" ".join(str(error).split()), headers=headers)


def retry_header(seconds: float) -> str:
    """The value of Retry-After: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))
