"""What HTTP itself refuses, before any RPC is meant: in the one shape of all errors."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import web
from google.rpc import code_pb2

from rule_service.api.http.transcode import encode_error
from rulecast.errors import InvalidInput, LimitExceeded, NotFound, RulecastError
from rulecast.reasons import Reason
from rulecast.rpc.errors import to_status

JSON = "application/json"
TIMEOUT_HEADER = "Grpc-Timeout"
BODY_SETTING = "limits.request_bytes"
"""The setting of the rule service that bounds a body."""

_TOLD = ("Allow", "Retry-After", "WWW-Authenticate")
"""Headers of a refusal that say what would be right."""
# curl's own, where nobody says -H: what is in it is read as JSON all the same
_READ_AS_JSON = frozenset({JSON, "application/x-www-form-urlencoded"})
_AS_IT_IS = "identity"
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers what aiohttp refuses: no such path, wrong verb, body too large or not to be unpacked."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return refusal(request, refused)


def refusal(request: web.Request, refused: web.HTTPException) -> web.Response:
    """The answer to a request that aiohttp refuses."""
    error, code = _told(request, refused)
    status = to_status(error)
    status.code = code or status.code
    _, body = encode_error(status, refused.status)
    told = {name: refused.headers[name] for name in _TOLD if name in refused.headers}
    return web.Response(status=refused.status, body=body, content_type=JSON, headers=told)


def check_media_type(request: web.Request) -> None:
    """Raises HTTPUnsupportedMediaType for a body that says it is something else than JSON, or compressed JSON."""
    if not request.body_exists:
        return
    if request.headers.get("Content-Encoding", _AS_IT_IS).lower() != _AS_IT_IS:
        raise web.HTTPUnsupportedMediaType
    if "Content-Type" not in request.headers:
        return
    if request.content_type not in _READ_AS_JSON and not request.content_type.endswith("+json"):
        raise web.HTTPUnsupportedMediaType


def timeout_of(request: web.Request, longest: float) -> float:
    """Seconds that the caller gives the call, by the header `Grpc-Timeout` (gRPC's own form, `500m` is half a second).

    longest: where it does not say, and at most. Raises InvalidInput for a header of another form.
    """
    said = request.headers.get(TIMEOUT_HEADER)
    if said is None:
        return longest
    form = _TIMEOUT.fullmatch(said)
    if form is None:
        message = (
            f"{said[:40]!r} is no timeout: write a whole number and a unit of H, M, S, m, u and n, such as 5S or 500m"
        )
        raise InvalidInput.of(TIMEOUT_HEADER, Reason.FIELD_INVALID, message)
    return min(longest, int(form[1]) * _UNITS[form[2]])


def _told(request: web.Request, refused: web.HTTPException) -> tuple[RulecastError, int | None]:
    """The error, and its code where the kind of error does not say it."""
    if isinstance(refused.__cause__, RulecastError):  # of our own gate
        return refused.__cause__, None
    place = f"{request.method} {request.path}"
    match refused:
        case web.HTTPNotFound():
            message = f"{place}: there is nothing at this path; /api/v1/docs lists the paths there are"
            return NotFound.of("", Reason.PATH_UNKNOWN, message), None
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(refused.allowed_methods))
            message = f"{place}: this path takes {allowed}"
            return InvalidInput.of("", Reason.VERB_NOT_ALLOWED, message), code_pb2.UNIMPLEMENTED
        case web.HTTPRequestEntityTooLarge():
            message = f"{place}: the body is too large ({refused.text}); the setting {BODY_SETTING} is the limit"
            return LimitExceeded.of("", Reason.TOO_LARGE, message, setting=BODY_SETTING), None
        case web.HTTPUnsupportedMediaType():
            packed = request.headers.get("Content-Encoding", "")
            what = f"{request.content_type} {packed}".strip()
            message = f"{place}: the body is {what}: send JSON, with Content-Type: {JSON}, uncompressed"
            return InvalidInput.of("", Reason.MEDIA_TYPE_UNSUPPORTED, message), None
        case _:
            return InvalidInput.of("", Reason.FIELD_INVALID, f"{place}: {refused.reason}"), None
