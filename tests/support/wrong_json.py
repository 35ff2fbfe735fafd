"""Every field of a request with JSON of another type than its own."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_TEXTS: tuple[Any, ...] = (5, True, [["x"]], {"x": "x"})
_NUMBERS: tuple[Any, ...] = ("x", "", 1.5, [1], {"x": 1}, 10**30, "1e3x")
_ONE_VALUE = {
    "google.protobuf.Duration": ("5", 5, "5 minutes", [], {}, "1e99s"),
    "google.protobuf.Timestamp": ("yesterday", 5, [], {}, "2026-13-01T00:00:00Z"),
    "google.protobuf.FieldMask": (5, ["a"], {"a": 1}),
    "google.protobuf.Empty": ({"x": 1}, 5, "x", [1]),
}
_ANY_VALUE = "google.protobuf.Value"


def wrong_bodies(request: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The field's path, and a body in which that field alone is given, wrongly. request: its descriptor."""
    for field in request.fields:
        for path, value in _wrong(field):
            yield path, {field.name: value}


def _wrong(field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        yield from ((field.name, value) for value in (5, "x", [1], True))
        for path, value in _wrong_value(kind.fields_by_name["value"]):
            yield f"{field.name}[some]{path}", {"some": value}
        return
    if field.is_repeated:
        yield from ((field.name, value) for value in (5, "x", {"x": 1}))
    for path, value in _wrong_value(field):
        yield f"{field.name}{path}", [value] if field.is_repeated else value


def _wrong_value(field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    kind = field.message_type
    if kind is None:
        yield from (("", value) for value in _of_scalar(field))
    elif kind.full_name in _ONE_VALUE:
        yield from (("", value) for value in _ONE_VALUE[kind.full_name])
    elif kind.full_name != _ANY_VALUE:
        yield from (("", value) for value in (5, "x", [1], True))
        for inner in kind.fields:
            yield from ((f".{path}", {inner.name: value}) for path, value in _wrong(inner))


def _of_scalar(field: FieldDescriptor) -> tuple[Any, ...]:
    if field.enum_type is not None:
        return ("NO_SUCH_CHOICE", 1.5, [1], {"x": 1})
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return ("yes", "", 5, [True], {"x": True})
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return (5, [1], {"x": 1})
        case FieldDescriptor.CPPTYPE_STRING:
            return _TEXTS
        case _:
            return _NUMBERS
