"""The gate for what is served over HTTP and is no RPC."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from rulecast.errors import PermissionDenied, RulecastError, Unauthenticated
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

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SITE: Final = "Sec-Fetch-Site"
_ORIGIN: Final = "Origin"
_OWN_PAGES: Final = frozenset({"same-origin", "none"})
"""The second is what a browser says of an address that its user has typed."""
_SHOWN: Final = 100
"""Characters of a header in a message."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(
    gate: Gate,
    needs: Mapping[str, Access],
    *,
    certificate: bool,
    refused: Callable[[RulecastError], None] = lambda _: None,
) -> Middleware:
    """Lets in who may come in. No browser is made to change something by another site's page.

    needs: by path; one that is not in it needs nothing here. certificate: whether clients have to show one.
    refused: is told of each refusal.
    """

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        call = Call(request.path, tuple(request.headers.items()), f"{request.remote or 'unknown'}:")
        try:
            async with gate.admitted(call, needs.get(request.path, Access.OPEN)):
                if certificate and not request.path.startswith(HEALTH):
                    _check_certificate(request)
                if request.method not in _SAFE:
                    _check_site(request)
        except RulecastError as error:
            refused(error)
            raise _refusal(error) from error
        return await handler(request)

    return guard


def _check_certificate(request: web.Request) -> None:
    # one that was shown was verified when the connection was made
    if not request.get_extra_info("peercert"):
        message = "this needs a client certificate, of an authority that the service knows (`tls.client_ca`)"
        raise Unauthenticated.of("", Reason.CERTIFICATE_MISSING, message)


def _check_site(request: web.Request) -> None:
    """A browser sends what a page of any site tells it to, and says whose page that is; other programs say nothing."""
    site, origin = request.headers.get(_SITE), request.headers.get(_ORIGIN)
    if site in _OWN_PAGES:
        return
    # a sandboxed page has the origin "null"
    elsewhere = origin is not None and origin.partition("://")[2].lower() != request.host.lower()
    if site == "cross-site" or elsewhere:
        message = (
            f"a page of another site ({(origin or 'unknown')[:_SHOWN]}) may change nothing here: send this from a page "
            f"of {request.host[:_SHOWN]}, or from a program that is no browser"
        )
        raise PermissionDenied.of("", Reason.CROSS_SITE_REQUEST, message)


def _refusal(error: RulecastError) -> web.HTTPException:
    kind = _REFUSED.get(code_of(error).name, web.HTTPServiceUnavailable)
    headers = {"WWW-Authenticate": "Bearer"} if kind is web.HTTPUnauthorized else {}
    if (delay := retry_after(error)) is not None:
        headers["Retry-After"] = retry_header(delay)
    return kind(reason=" ".join(str(error).split()), headers=headers)


def retry_header(seconds: float) -> str:
    """The value of Retry-After: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))
