"""The schema of the one shape that every error has (AIP-193), as `transcode.encode_error` writes it."""

from typing import Any

from google.rpc import code_pb2

from rulecast.reasons import Reason

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}


def error_schemas() -> dict[str, Json]:
    """The components `Error`, `Reason` and the details that an error can have."""
    details = {
        "ErrorInfo": _detail(
            "ErrorInfo",
            "What went wrong, for programs. In every error of ours.",
            reason=_reference("Reason"),
            domain={"const": "rulecast"},
            metadata={"type": "object", "additionalProperties": _TEXT, "description": "Ids, the current etag, limits."},
        ),
        "BadRequest": _detail(
            "BadRequest",
            "Which fields are wrong.",
            field_violations=_list(field=_TEXT, description=_TEXT, reason=_reference("Reason")),
        ),
        "PreconditionFailure": _detail(
            "PreconditionFailure",
            "What forbids it now.",
            violations=_list(type=_reference("Reason"), subject=_TEXT, description=_TEXT),
        ),
        "RetryInfo": _detail("RetryInfo", "When to try again.", retry_delay={"type": "string", "examples": ["1s"]}),
        "RequestInfo": _detail("RequestInfo", "By which the service's log has more.", request_id=_TEXT),
        "CurrentState": _detail(
            "CurrentState",
            "Of an error ABORTED about an etag: the resource as it is now. Left out where it is very large.",
            namespace=_reference("Namespace"),
            group=_reference("Group"),
            target=_reference("Target"),
            template=_reference("AlertTemplate"),
            rule=_reference("AlertRule"),
        ),
    }
    return {
        "Error": _object(
            "What every call that fails answers.",
            error=_object(
                "",
                code={"type": "integer", "description": "The HTTP status."},
                status={"type": "string", "enum": code_pb2.Code.keys(), "description": "The gRPC status."},
                message={**_TEXT, "description": "For people: what is wrong and what would be right."},
                details={
                    "type": "array",
                    "items": {
                        "oneOf": [_reference(name) for name in details],
                        "discriminator": {
                            "propertyName": "@type",
                            "mapping": {_type(name): f"#/components/schemas/{name}" for name in details},
                        },
                    },
                },
            ),
        ),
        "Reason": {
            "type": "string",
            "description": "Stable and machine-readable. None is ever renamed; new ones may come.",
            "x-extensible-enum": [reason.value for reason in Reason],
        },
        **details,
    }


def _detail(name: str, description: str, **properties: Json) -> Json:
    """A detail: what is empty is left out of it."""
    schema = _object(description, **{"@type": {"const": _type(name)}}, **properties)
    return {**schema, "required": ["@type"]}


def _object(description: str, **properties: Json) -> Json:
    schema: Json = {"type": "object", "properties": properties, "required": list(properties)}
    return {**schema, "description": description} if description else schema


def _list(**properties: Json) -> Json:
    return {"type": "array", "items": {"type": "object", "properties": properties}}


def _type(name: str) -> str:
    of_ours = {"CurrentState": "rulecast.v1.Resource"}
    return f"type.googleapis.com/{of_ours.get(name, f'google.rpc.{name}')}"


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
