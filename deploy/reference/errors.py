"""docs/en/reference/errors.md: every reason, from `rulecast.reasons` and `rulecast.reason_guide`."""

import inspect
import re
from collections.abc import Iterator

import grpc
from google.rpc import code_pb2, status_pb2

from deploy.reference.markdown import code, table
from rule_service.api.http.transcode import encode_error
from rulecast import reasons
from rulecast.errors import RulecastError
from rulecast.reason_guide import GUIDE
from rulecast.reasons import Reason
from rulecast.rpc.errors import code_of

_SECTION = re.compile(r"^    # (.+)$|^    ([A-Z_]+) = ")
_OUTCOME = "outcome"
_INTRODUCTION = """\
# Errors

Written by `python -m deploy.reference` from `rulecast/reasons.py` and `rulecast/reason_guide.py`.

An error has the same details over gRPC (`google.rpc.Status`) and over HTTP, where it is
`{"error": {"code", "status", "message", "details"}}`:

- `ErrorInfo`, always. `reason`: one of those below, for programs. `domain`: `rulecast`. `metadata`: ids, limits, and
  the `line` and `column` of the first position.
- `BadRequest`, when the request is wrong: each wrong field with its path, reason and description.
- `PreconditionFailure`, when the state forbids it: `type` is the reason, `subject` the field.
- `RetryInfo`, when trying again makes sense; over HTTP `Retry-After` too.
- `RequestInfo`, when the call reached a handler: the id by which the service's log has more. A caller may choose it
  with `x-request-id`.

A reason is never renamed and never given another meaning. A client must expect reasons that it does not know.

"""


def errors_page() -> str:
    parts = [_INTRODUCTION, "## Status codes\n\n", _codes(), "\n"]
    for title, members in sections():
        rows = [
            (code(each.value), ", ".join(_statuses(each)) or _OUTCOME, GUIDE[each].what, GUIDE[each].then)
            for each in members
        ]
        parts += [f"## {title[0].upper()}{title[1:]}\n\n", table(("Reason", "gRPC", "What", "What to do"), rows), "\n"]
    parts.append(
        f"*{_OUTCOME}*: no call fails with it. It is the reason of a file or a notice at a deployer, in a rollout, in\n"
        "ListDeployers, in its log and in its metrics.\n"
    )
    return "".join(parts)


def sections() -> Iterator[tuple[str, list[Reason]]]:
    """The reasons by the comments that head them in `reasons.py`."""
    title, members = "", list[Reason]()
    for line in inspect.getsource(reasons).splitlines():
        found = _SECTION.match(line)
        if found and found[1]:
            if members:
                yield title, members
            title, members = found[1], []
        elif found:
            members.append(Reason[found[2]])
    yield title, members


def _statuses(reason: Reason) -> list[str]:
    return [_code(kind).name for kind in GUIDE[reason].kinds]


def _code(kind: type[RulecastError]) -> grpc.StatusCode:
    return code_of(kind.of("", Reason.INTERNAL, ""))


def _codes() -> str:
    used = {name for reason in Reason for name in _statuses(reason)} | {"UNIMPLEMENTED", "CANCELLED"}
    rows = [
        (code(name), str(encode_error(status_pb2.Status(code=number))[0]))
        for name, number in code_pb2.Code.items()
        if name in used
    ]
    return table(("gRPC", "HTTP"), rows)
