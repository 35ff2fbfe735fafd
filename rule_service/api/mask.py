"""Field masks (AIP-134, AIP-161) on any message."""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

M = TypeVar("M", bound=Message)

_FIELD = "update_mask"
_COMPARED = 64
"""Characters of a wrong name that are compared with the right ones."""


def merged(current: M, patch: M, mask: FieldMask) -> M:
    """`current` with the fields of `patch` that the mask names; a named field that is not set in it is cleared.

    A path may end in the key of a map (`config.labels.team`). `*` replaces everything. Without a mask: all fields
    that are set, maps key by key, lists as a whole. Raises InvalidInput for a path that is not there.
    """
    result = type(current)()
    result.CopyFrom(current)
    if not mask.paths:
        _take_set(result, patch)
    elif list(mask.paths) == ["*"]:
        result.CopyFrom(patch)
    else:
        for path in mask.paths:
            _take_path(result, patch, path)
    return result


def _take_set(result: Message, patch: Message) -> None:
    for field, value in patch.ListFields():
        if _is_map(field):
            _take_entries(result, patch, field, list(value))
        elif _is_nested(field):
            _take_set(getattr(result, field.name), value)
            getattr(result, field.name).SetInParent()
        else:
            _take_field(result, patch, field)


def _take_path(result: Message, patch: Message, path: str) -> None:
    at: tuple[Message, Message] = (result, patch)
    rest = path
    while True:
        name, _, rest = rest.partition(".")
        field = _field(at[0], name, path)
        if not rest:
            _take_field(*at, field)
            return
        if _is_map(field):
            _take_entries(*at, field, [_key(rest, path)])
            return
        if not _is_nested(field):
            raise _no_path(path, f"{shown(name)} has no fields", ())
        at = (getattr(at[0], name), getattr(at[1], name))
        at[0].SetInParent()


def _take_field(result: Message, patch: Message, field: FieldDescriptor) -> None:
    result.ClearField(field.name)
    piece = type(patch)()
    value = getattr(patch, field.name)
    if field.is_repeated:
        if _is_map(field):
            _take_entries(result, patch, field, list(value))
            return
        getattr(piece, field.name).extend(value)
    elif not field.has_presence:
        setattr(piece, field.name, value)
    elif not patch.HasField(field.name):
        return
    elif field.message_type is not None:
        getattr(piece, field.name).CopyFrom(value)
    else:
        setattr(piece, field.name, value)
    result.MergeFrom(piece)


def _take_entries(result: Message, patch: Message, field: FieldDescriptor, keys: Sequence[str]) -> None:
    into, source = getattr(result, field.name), getattr(patch, field.name)
    values_are_messages = field.message_type is not None and field.message_type.fields_by_name["value"].message_type
    for key in keys:
        if key not in source:
            into.pop(key, None)
        elif values_are_messages:
            into[key].CopyFrom(source[key])
        else:
            into[key] = source[key]


def _key(rest: str, path: str) -> str:
    """The key of a map at the end of a path; one with a dot stands in backticks."""
    if rest[0] == rest[-1] == "`" and len(rest) > 2:
        return rest[1:-1]
    if "." in rest:
        raise _no_path(path, f"{shown(rest.partition('.')[0])} has no fields", ())
    return rest


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_nested(field: FieldDescriptor) -> bool:
    """A message of ours, which masks go into; those of google.protobuf are values."""
    return (
        not field.is_repeated
        and field.message_type is not None
        and not field.message_type.full_name.startswith("google.")
    )


def _field(message: Message, name: str, path: str) -> Any:
    fields = message.DESCRIPTOR.fields_by_name
    field = fields.get(name)
    if field is None:
        raise _no_path(path, f"there is no {shown(name)}", list(fields))
    return field


def _no_path(path: str, why: str, names: Sequence[str]) -> InvalidInput:
    near = difflib.get_close_matches(path.rpartition(".")[2][:_COMPARED], names, n=1)
    right = (
        f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}" if names else "name it as a whole"
    )
    message = f"{shown(path)} is not a field that can be changed: {why}; {right}"
    return InvalidInput.of(_FIELD, Reason.FIELD_INVALID, message)
