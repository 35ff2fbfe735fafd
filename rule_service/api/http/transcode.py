"""JSON to messages and back. Pure; raises InvalidInput for what does not fit the request."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

# importing a detail's type is what lets it be written as JSON
from google.rpc import error_details_pb2 as _error_details  # noqa: F401

from rule_service.api.http.bindings import Binding
from rule_service.api.http.fit import check_fit
from rule_service.api.http.json_body import read_json
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

_HTTP_STATUS = {
    code_pb2.OK: 200,
    code_pb2.CANCELLED: 499,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
}
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_SHOWN = 100
"""Characters of a name in a message."""
_MASK = "google.protobuf.FieldMask"
# of the messages of json_format.ParseError
_WAY = re.compile(r"Failed to parse (\w+) field: ")
_PLACE = re.compile(r" at \"?\w+Request[\w.\[\]]*\"?\.*$")


def decode_request(binding: Binding, path: Mapping[str, str], query: Iterable[tuple[str, str]], body: bytes) -> Message:
    """The RPC's request. `path`: the values of the path's variables, by field."""
    given = read_json(body)
    if given and not binding.body:
        # never passed over in silence: it may have been meant to say `validate_only`
        message = f"this call takes no body: {binding.verb} has its fields in the path and the query"
        raise InvalidInput.of("", Reason.FIELD_INVALID, message)
    if binding.body not in ("", "*"):
        given = {binding.body: given}
    if not isinstance(given, dict):
        raise InvalidInput.of("", Reason.FIELD_INVALID, "the body is not a JSON object")
    check_fit(binding.request.DESCRIPTOR, given)
    masks = _taken_masks(binding.request, given)
    if binding.body != "*":
        _put_all(binding.request, given, query)
    elif extra := [name for name, _ in query]:
        raise InvalidInput.of(
            extra[0][:_SHOWN],
            Reason.FIELD_INVALID,
            "this call takes no query parameters: put the field into the JSON body",
        )
    request = binding.request()
    try:
        json_format.ParseDict(given, request)
    except json_format.ParseError as error:
        raise _unfitting(str(error)) from None
    for name, paths in masks.items():
        getattr(request, name).paths.extend(paths)
    for field, value in path.items():
        _put_path(request, field, value)
    return request


def encode_response(binding: Binding, response: Message) -> bytes:
    """The JSON of a response, with the fields' names as in the protos."""
    shown = json_format.MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _dumped(shown[binding.response_body] if binding.response_body else shown)


def encode_error(status: status_pb2.Status, http_status: int | None = None) -> tuple[int, bytes]:
    """The HTTP status, and the one shape that every error has: `{"error": {code, status, message, details}}`.

    http_status: where the status code alone does not say it.
    """
    http_status = http_status or _HTTP_STATUS.get(status.code, 500)
    error = {
        "code": http_status,
        "status": code_pb2.Code.Name(status.code),
        "message": status.message,
        "details": [json_format.MessageToDict(each, preserving_proto_field_name=True) for each in status.details],
    }
    return http_status, _dumped({"error": error})


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _unfitting(message: str) -> InvalidInput:
    """What protobuf's reader says, for the field that it names by the way it went there."""
    field = ".".join(_WAY.findall(message))
    problem = _PLACE.sub("", _WAY.sub("", message)).rstrip(". ")
    return InvalidInput.of(field, Reason.FIELD_INVALID, f"the JSON does not fit the request: {problem}")


def _taken_masks(request: type[Message], given: dict[str, Any]) -> dict[str, list[str]]:
    """Takes the field masks out of `given`: theirs are written in either case here, and keys of maps have any name."""
    masks = {}
    for field in request.DESCRIPTOR.fields:
        if field.message_type is None or field.message_type.full_name != _MASK:
            continue
        value = given.pop(field.name, given.pop(field.json_name, None)) or ""
        masks[field.name] = [_snake(path.strip()) for path in value.split(",") if path.strip()]
    return masks


def _snake(path: str) -> str:
    return path if "_" in path else _CAPITAL.sub("_", path).lower()


def _put_all(request: type[Message], given: dict[str, Any], query: Iterable[tuple[str, str]]) -> None:
    for path, text in query:
        into = given
        *parents, last = path.split(".")
        descriptor: Any = request.DESCRIPTOR
        for name in parents:
            field = _known(descriptor, name, path)
            if field.message_type is None or field.is_repeated:
                raise _unknown(path)
            descriptor = field.message_type
            into = into.setdefault(field.name, {})
        field = _known(descriptor, last, path)
        if _has_fields(field.message_type):
            message = f"it is no single value: give one of its fields, e.g. {path}.{field.message_type.fields[-1].name}"
            raise InvalidInput.of(path, Reason.FIELD_INVALID, message)
        value = _typed(field, text)
        if field.is_repeated:
            into.setdefault(field.name, []).append(value)
        elif field.name in into:
            raise InvalidInput.of(path, Reason.FIELD_INVALID, "it is given twice: give it once")
        else:
            into[field.name] = value


def _has_fields(message: Any) -> bool:
    """A message of ours; those of google.protobuf are written as one value, such as `1.5s`."""
    return message is not None and not message.full_name.startswith("google.protobuf.")


def _known(descriptor: Any, name: str, path: str) -> Any:
    field = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
    if field is None:
        raise _unknown(path)
    return field


def _unknown(path: str) -> InvalidInput:
    return InvalidInput.of(path[:_SHOWN], Reason.FIELD_INVALID, "there is no such query parameter")


def _typed(field: Any, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in ("true", "false"):
            raise InvalidInput.of(field.name, Reason.FIELD_INVALID, f"{text!r}: say true or false")
        return text == "true"
    return text


def _put_path(request: Message, path: str, value: str) -> None:
    *parents, last = path.split(".")
    message = request
    for name in parents:
        message = getattr(message, name)
    field = message.DESCRIPTOR.fields_by_name[last]
    stated = getattr(message, last)
    typed: str | int = value
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64):
        if not value.isascii() or not value.isdigit() or len(value) > 19 or int(value) >= 2**63:
            raise InvalidInput.of(path, Reason.FIELD_INVALID, f"{value!r} is not a number")
        typed = int(value)
    if stated and stated != typed:
        raise InvalidInput.of(path, Reason.FIELD_INVALID, f"the path says {value!r}, the body {stated!r}")
    setattr(message, last, typed)
