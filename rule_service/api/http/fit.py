"""Whether JSON fits a request, told by the path of the field that does not. Pure.

protobuf's reader checks too, but names the place by chance only, and takes without a word what is not clear: a field by
both of its names, and 1.5 or true as a choice.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

_TIMES: Mapping[str, tuple[type[Duration] | type[Timestamp], str]] = {
    "google.protobuf.Duration": (Duration, "a duration: write seconds, such as 90s or 1.5s"),
    "google.protobuf.Timestamp": (Timestamp, "a time: write it as 2030-01-31T00:00:00Z"),
}
_MASK = "google.protobuf.FieldMask"
_ANY_VALUE = "google.protobuf.Value"
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_SHOWN = 60
"""Characters of a wrong value or name in a message."""
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def check_fit(message: Any, given: dict[str, Any], path: str = "") -> None:
    """Raises InvalidInput for the first field that does not fit. message: the descriptor of what is given."""
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for name, value in given.items():
        field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        place = f"{path}.{field.name if field else name[:_SHOWN]}".removeprefix(".")
        if field is None:
            raise _wrong(place, f"there is no such field{_hint(message, name)}")
        if field.name in taken:
            raise _wrong(place, f"it is given as {field.json_name} too: give it once")
        taken.add(field.name)
        if field.containing_oneof is not None and value is not None:
            other = chosen.setdefault(field.containing_oneof.name, field.name)
            if other != field.name:
                raise _wrong(path or place, f"{other} and {field.name} are both given: give one of the two")
        _check_field(field, value, place)


def _check_field(field: FieldDescriptor, value: Any, path: str) -> None:
    kind = field.message_type
    if value is None:
        return
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        for name, each in _as(dict, value, path, "an object").items():
            _check_value(inner, each, f"{path}[{name[:_SHOWN]}]")
    elif field.is_repeated:
        for at, each in enumerate(_as(list, value, path, "a list")):
            _check_value(field, each, f"{path}[{at}]")
    else:
        _check_value(field, value, path)


def _check_value(field: FieldDescriptor, value: Any, path: str) -> None:
    kind = field.message_type
    if kind is not None:
        if kind.full_name == _MASK:
            _as(str, value, path, "a text")
        elif kind.full_name in _TIMES:
            _check_time(_as(str, value, path, "a text"), path, *_TIMES[kind.full_name])
        elif kind.full_name != _ANY_VALUE:
            check_fit(kind, _as(dict, value, path, "an object"), path)
    elif field.enum_type is not None:
        _check_choice(field.enum_type, value, path)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        _as(bool, value, path, "true or false")
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        _as(str, value, path, "a text")
    elif field.cpp_type in _RANGES:
        _check_whole(value, path, *_RANGES[field.cpp_type])


def _check_time(value: str, path: str, kind: type[Duration] | type[Timestamp], what: str) -> None:
    try:
        kind().FromJsonString(value)
    except ValueError:
        raise _wrong(path, f"{_shown(value)} is not {what}") from None


def _check_choice(choices: Any, value: Any, path: str) -> None:
    # a number that is none of them is refused by whoever reads the message
    if value not in choices.values_by_name if isinstance(value, str) else type(value) is not int:
        raise _wrong(
            path, f"{_shown(value)} is not one of the values there are: use {', '.join(choices.values_by_name)}"
        )


def _check_whole(value: Any, path: str, least: int, most: int) -> None:
    whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    if not whole and not (isinstance(value, str) and _WHOLE.fullmatch(value)):
        raise _wrong(path, f"{_shown(value)} is not a whole number")
    if not least <= int(value) <= most:
        raise _wrong(path, f"{_shown(value)} is out of range: use {least} to {most}")


def _as(kind: type, value: Any, path: str, what: str) -> Any:
    if not isinstance(value, kind):
        raise _wrong(path, f"{_shown(value)} is not {what}")
    return value


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return repr(value)[:_SHOWN]


def _hint(message: Any, name: str) -> str:
    names = [field.name for field in message.fields]
    close = difflib.get_close_matches(name[:_SHOWN], names, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names) or 'none'}"


def _wrong(path: str, message: str) -> InvalidInput:
    return InvalidInput.of(path, Reason.FIELD_INVALID, message)
