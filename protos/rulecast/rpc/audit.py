"""The audit log: one line for each write and each refusal, from the logger `audit`. Never the texts of a request."""

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
    token: str | None,
    method: str,
    outcome: str,
    reason: str | None,
    peer: str,
    request: Message | None = None,
    response: Message | None = None,
) -> None:
    """The line about a call that has ended. token: its id. The request's id is bound to the log already."""
    facts: dict[str, Any] = {"who": who, "method": method, "outcome": outcome, "peer": peer}
    if token is not None:
        facts["token"] = token
    if reason is not None:
        facts["reason"] = reason
    if resource := named(request) | named(response):
        facts["resource"] = resource
    if getattr(request, "validate_only", False):
        facts["validate_only"] = True
    if revision := getattr(getattr(response, "change", None), "revision", 0):
        facts["revision"] = revision
    _log.info("call", **facts)


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
