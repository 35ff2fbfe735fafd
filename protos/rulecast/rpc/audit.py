"""The audit log: a line for each write and each refusal, from the logger `audit`. Never the texts of a request."""

from collections.abc import Mapping
from typing import Any, Final

import structlog
from google.protobuf.message import Message

from rulecast.process.logs import AUDIT

MAX_ID: Final = 100
"""Characters of an id that are written down: it may be anything that was sent."""

_log = structlog.get_logger(AUDIT)


def write(
    *,
    who: str,
    method: str,
    outcome: str,
    peer: str,
    token: str | None = None,
    reason: str | None = None,
    resource: Mapping[str, str] | None = None,
    revision: int = 0,
    validate_only: bool = False,
) -> None:
    """The line about something that was done or refused. The request's id is bound to the log already.

    token: its id. resource: ids, by the field that gives them.
    """
    facts: dict[str, Any] = {"who": who, "method": method, "outcome": outcome, "peer": peer}
    more = {
        "token": token,
        "reason": reason,
        "resource": resource,
        "revision": revision,
        "validate_only": validate_only,
    }
    _log.info("call", **facts, **{name: value for name, value in more.items() if value})


def named(message: Message | None) -> dict[str, str]:
    """The ids that a message gives to say what it is about, by field."""
    found: dict[str, str] = {}
    for field, value in message.ListFields() if message is not None else ():
        if field.is_repeated:
            continue
        if isinstance(value, str) and (field.name == "id" or field.name.endswith("_id")):
            found[field.name] = value[:MAX_ID]
        elif isinstance(value, Message) and isinstance(id := getattr(value, "id", None), str) and id:
            found[f"{field.name}.id"] = id[:MAX_ID]
    found.pop("request_id", None)
    return found
