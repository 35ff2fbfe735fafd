"""Messages as text that people like to read and to compare: the same message gives the same bytes."""

import json
import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from rule_service.domain.rule_yaml import key, scalar

_EXACT = 2**53


def as_yaml(message: Message) -> str:
    return "".join(f"{line}\n" for line in _map(plain(message), 0)) or "{}\n"


def as_json(message: Message) -> str:
    return json.dumps(plain(message), ensure_ascii=False, indent=2) + "\n"


def plain(message: Message) -> dict[str, Any]:
    """The fields that are set, in the order of the proto; maps by key."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: _single(field.message_type.fields_by_name["value"], value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [_single(field, each) for each in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Value):
        return value.string_value if value.HasField("string_value") else _number(value.number_value)
    if isinstance(value, Message):
        return plain(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def _number(value: float) -> int | float:
    """Without `.0` where it says nothing."""
    if value.is_integer() and abs(value) < _EXACT and math.copysign(1, value) > 0:
        return int(value)
    return -int(-value) if value.is_integer() and 0 < -value < _EXACT else value


def _map(value: dict[str, Any], indent: int) -> Iterator[str]:
    margin = " " * indent
    for name, each in value.items():
        field = f"{margin}{key(name)}:"
        match each:
            case dict() if each:
                yield field
                yield from _map(each, indent + 2)
            case list() if each:
                yield field
                yield from _list(each, indent + 2)
            case _:
                yield f"{field} {_scalar(each, indent + 2)}"


def _list(values: list[Any], indent: int) -> Iterator[str]:
    margin = " " * indent
    for each in values:
        if isinstance(each, dict) and each:
            first, *rest = _map(each, indent + 2)
            yield f"{margin}- {first.lstrip(' ')}"
            yield from rest
        else:
            yield f"{margin}- {_scalar(each, indent + 2)}"


def _scalar(value: Any, indent: int) -> str:
    match value:
        case str():
            return scalar(value, indent)
        case bool():
            return str(value).lower()
        case dict():
            return "{}"
        case list():
            return "[]"
        case _:
            return repr(value)
