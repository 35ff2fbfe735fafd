"""Every place of a request in which a caller can write a text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_NOT_LOOKED_AT = frozenset({"metadata", "rendered", "warnings", "owner"})
"""Of resources: output only."""
_TEXT = FieldDescriptor.TYPE_STRING


@dataclass(frozen=True)
class Place:
    """path: for people. put: writes a text there. read: what stands there, in a message of the same kind."""

    path: str
    put: Callable[[Any, str], None]
    read: Callable[[Any, str], Any]


def places(descriptor: Descriptor, path: str = "") -> Iterator[Place]:
    """All places in messages of this kind, those in nested messages, lists and maps included."""
    for field in descriptor.fields:
        if field.name in _NOT_LOOKED_AT and _output_only(field):
            continue
        at = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _of_map(field, at)
        elif field.message_type is not None:
            yield from _of_message(field, at)
        elif field.type == _TEXT:
            yield _of_text(field, at)


def _output_only(field: FieldDescriptor) -> bool:
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _of_text(field: FieldDescriptor, path: str) -> Place:
    name = field.name
    if field.is_repeated:
        return Place(
            path,
            lambda message, text: getattr(message, name).append(text),
            lambda message, _: getattr(message, name)[-1],
        )
    return Place(path, lambda message, text: setattr(message, name, text), lambda message, _: getattr(message, name))


def _of_message(field: FieldDescriptor, path: str) -> Iterator[Place]:
    assert field.message_type is not None
    kind, name = field.message_type.full_name, field.name
    if kind == "google.protobuf.Value":
        inner: Iterator[Place] = iter([_VALUE])
    elif kind == "google.protobuf.FieldMask":
        inner = iter([Place("", lambda mask, text: mask.paths.append(text), lambda mask, _: mask.paths[-1])])
    elif kind.startswith("google."):
        return
    else:
        inner = places(field.message_type)
    for each in inner:
        yield _inside(field, name, f"{path}.{each.path}" if each.path else path, each)


def _inside(field: FieldDescriptor, name: str, path: str, inner: Place) -> Place:
    def child(message: Message) -> Any:
        found = getattr(message, name)
        if not field.is_repeated:
            return found
        return found[0] if found else found.add()

    return Place(
        path,
        lambda message, text: inner.put(child(message), text),
        lambda message, text: inner.read(child(message), text),
    )


def _of_map(field: FieldDescriptor, path: str) -> Iterator[Place]:
    assert field.message_type is not None
    name = field.name
    if field.message_type.fields_by_name["value"].type == _TEXT:
        yield Place(
            f"{path}[text]",
            lambda message, text: getattr(message, name).update({text: "x"}),
            lambda message, text: next(key for key in getattr(message, name) if key == text),
        )
        yield Place(
            f"{path}[some]",
            lambda message, text: getattr(message, name).update(some=text),
            lambda message, _: getattr(message, name)["some"],
        )
    else:
        yield Place(
            f"{path}[text]",
            lambda message, text: _VALUE.put(getattr(message, name)[text], "x"),
            lambda message, text: next(key for key in getattr(message, name) if key == text),
        )
        yield Place(
            f"{path}[text_parameter]",
            lambda message, text: _VALUE.put(getattr(message, name)["text_parameter"], text),
            lambda message, _: _VALUE.read(getattr(message, name)["text_parameter"], ""),
        )


_VALUE = Place("", lambda value, text: setattr(value, "string_value", text), lambda value, _: value.string_value)
