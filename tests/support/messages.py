"""Messages with something in every field, of any type."""

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

M = TypeVar("M", bound=Message)

_SAMPLES: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_INT32: -7,
    FieldDescriptor.CPPTYPE_UINT32: 7,
    FieldDescriptor.CPPTYPE_INT64: 2**62,
}
_LEAVES: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"seconds": 1_700_000_000, "nanos": 5_000_000},
    "google.protobuf.Duration": {"seconds": 1, "nanos": 500_000_000},
    "google.protobuf.FieldMask": {"paths": ["description", "config.for_duration"]},
    "google.protobuf.Value": {"number_value": 1.5},
    "google.protobuf.Empty": {},
}


def filled(message: M, choice: int = 0) -> M:
    """The message, filled. choice: which alternative of each oneof; counted from the first, and round again."""
    left_out: set[str] = set()
    for oneof in message.DESCRIPTOR.oneofs:
        names = [field.name for field in oneof.fields]
        left_out |= {*names} - {names[choice % len(names)]}
    for field in message.DESCRIPTOR.fields:
        if field.name not in left_out:
            _fill(message, field, choice)
    return message


def _fill(message: Message, field: Any, choice: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        values = getattr(message, field.name)
        if field.message_type.fields_by_name["value"].message_type is None:
            values["key"] = "value"
        else:
            values["key"].CopyFrom(Value(string_value="80"))
    elif field.message_type is not None:
        below = getattr(message, field.name)
        _fill_below(below.add() if field.is_repeated else below, choice)
    else:
        sample = _sample(field)
        if field.is_repeated:
            getattr(message, field.name).append(sample)
        else:
            setattr(message, field.name, sample)


def _fill_below(message: Message, choice: int) -> None:
    leaf = _LEAVES.get(message.DESCRIPTOR.full_name)
    if leaf is None:
        filled(message, choice)
        return
    message.SetInParent()
    message.MergeFrom(type(message)(**leaf))


def _sample(field: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return b"\xff\x00" if field.type == FieldDescriptor.TYPE_BYTES else _SAMPLES[field.cpp_type]
