"""From a tree to a message: its descriptor says what each place takes, so that no value is guessed.

Everything that does not fit is told at once, with its path and its place in the text.
"""

import difflib
import math
import re
from collections.abc import Collection
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from rule_service.api.text.tree import Entries, Items, Node, Scalar, Sort
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput, Position, Violation
from rulecast.reasons import Reason

_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]{1,10}")
_COMPARED = 64
"""Characters of a wrong name that are compared with the right ones."""
_VALUE, _EMPTY = "google.protobuf.Value", "google.protobuf.Empty"


def read(node: Node, message: Message, name: str, kept: Collection[str] = ()) -> None:
    """Fills the message. name: of the field with the text. kept: what is output only, and is read all the same.

    Raises InvalidInput.
    """
    reader = _Reader(name, kept)
    reader.message(node, message, "")
    if reader.violations:
        raise InvalidInput(tuple(reader.violations))


class _Reader:
    def __init__(self, name: str, kept: Collection[str]) -> None:
        self.violations: list[Violation] = []
        self._name = name
        self._kept = kept

    def message(self, node: Node, message: Message, path: str) -> None:
        if isinstance(node, Scalar) and node.is_null:
            return
        if not isinstance(node, Entries):
            self._refuse(path, f"a map is expected here, {_what(node)} is not one", node.at)
            return
        fields = message.DESCRIPTOR.fields_by_name
        seen: dict[str, str] = {}
        for key, inner in node.nodes.items():
            field: Any = fields.get(key) or message.DESCRIPTOR.fields_by_camelcase_name.get(key)
            place, at = f"{path}.{key}" if path else key, node.key_at[key]
            if field is None:
                self._refuse(place, f"there is no field {shown(key)} here{_nearest(key, list(fields))}", at)
            elif other := seen.get(field.name) or _rival(field, seen):
                self._refuse(place, f"{shown(other)} is said too, and only one of them can be", at)
            else:
                seen[field.name] = key
                if field.name in self._kept or not _output_only(field):
                    self._field(inner, message, field, place)

    def _field(self, node: Node, message: Message, field: FieldDescriptor, path: str) -> None:
        if field.message_type is not None and field.message_type.full_name == _EMPTY:
            self._empty(node, message, field, path)
        elif isinstance(node, Scalar) and node.is_null:
            return
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._map(node, getattr(message, field.name), field.message_type.fields_by_name["value"], path)
        elif field.is_repeated:
            self._list(node, getattr(message, field.name), field, path)
        elif field.message_type is None:
            value = self._scalar(node, field, path)
            if value is not None:
                setattr(message, field.name, value)
        elif field.message_type.full_name == _VALUE:
            self._value(node, getattr(message, field.name), path)
        else:
            getattr(message, field.name).SetInParent()
            self.message(node, getattr(message, field.name), path)

    def _empty(self, node: Node, message: Message, field: FieldDescriptor, path: str) -> None:
        if (isinstance(node, Entries) and not node.nodes) or (isinstance(node, Scalar) and node.is_null):
            getattr(message, field.name).SetInParent()
        else:
            self._refuse(path, "nothing is said about this: write {}", node.at)

    def _map(self, node: Node, into: Any, field: FieldDescriptor, path: str) -> None:
        if not isinstance(node, Entries):
            self._refuse(path, f"a map is expected here, {_what(node)} is not one", node.at)
            return
        for key, inner in node.nodes.items():
            place = f"{path}[{key}]"
            if field.message_type is not None:
                self._value(inner, into[key], place)
            elif isinstance(inner, Scalar) and inner.is_null:
                self._refuse(place, 'it has no value: write "" for an empty text, or remove it', node.key_at[key])
            else:
                into[key] = self._scalar(inner, field, place) or ""

    def _list(self, node: Node, into: Any, field: FieldDescriptor, path: str) -> None:
        if not isinstance(node, Items):
            self._refuse(path, f"a list is expected here, {_what(node)} is not one", node.at)
            return
        for at, inner in enumerate(node.nodes):
            place = f"{path}[{at}]"
            if field.message_type is None:
                into.append(self._scalar(inner, field, place) or "")
            elif field.message_type.full_name == _VALUE:
                self._value(inner, into.add(), place)
            elif isinstance(inner, Entries):
                self.message(inner, into.add(), place)
            else:
                self._refuse(place, f"a map is expected here, {_what(inner)} is not one", inner.at)

    def _scalar(self, node: Node, field: FieldDescriptor, path: str) -> str | int | bool | None:
        """The value, or None where it is refused."""
        if not isinstance(node, Scalar):
            self._refuse(path, f"a single value is expected here, {_what(node)} is not one", node.at)
            return None
        if field.enum_type is not None:
            return self._choice(node, field, path)
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                if node.sort in (Sort.QUOTED, Sort.PLAIN):
                    return node.text
                self._refuse(path, f"a text is expected here: write {shown(node.text)}, in quotes", node.at)
            case FieldDescriptor.CPPTYPE_BOOL:
                if node.sort in (Sort.BOOL, Sort.PLAIN) and node.text in ("true", "false"):
                    return node.text == "true"
                self._refuse(path, f"{shown(node.text)}: write true or false", node.at)
            case _:
                if node.sort is not Sort.QUOTED and _INTEGER.fullmatch(node.text) and abs(int(node.text)) < 2**31:
                    return int(node.text)
                self._refuse(path, f"{shown(node.text)} is not a whole number of 32 bits", node.at)
        return None

    def _choice(self, node: Scalar, field: FieldDescriptor, path: str) -> int | None:
        assert field.enum_type is not None
        values = field.enum_type.values_by_name
        if node.text in values and node.sort in (Sort.QUOTED, Sort.PLAIN):
            number: int = values[node.text].number
            return number
        names = [name for name, value in values.items() if value.number]
        self._refuse(path, f"there is no choice {shown(node.text)}{_nearest(node.text, names)}", node.at)
        return None

    def _value(self, node: Node, into: Value, path: str) -> None:
        if not isinstance(node, Scalar) or node.is_null or node.sort is Sort.BOOL:
            self._refuse(path, f'a value is a number or a text, {_what(node)} is neither: write 80 or "5m"', node.at)
        elif node.sort is Sort.QUOTED or (node.sort is Sort.PLAIN and not _NUMBER.fullmatch(node.text)):
            if node.sort is Sort.PLAIN and node.text in ("true", "false"):
                self._refuse(path, f'a value is a number or a text: write "{node.text}" for the text', node.at)
            into.string_value = node.text
        elif _NUMBER.fullmatch(node.text) and math.isfinite(float(node.text)):
            into.number_value = float(node.text)
        else:
            self._refuse(path, f"{shown(node.text)} is not a finite number", node.at)

    def _refuse(self, path: str, message: str, at: Position | None) -> None:
        self.violations.append(Violation(path or self._name, Reason.FIELD_INVALID, message, at))


def _rival(field: FieldDescriptor, seen: dict[str, str]) -> str | None:
    """Another field of the same oneof that is set."""
    if field.containing_oneof is None:
        return None
    return next((seen[each.name] for each in field.containing_oneof.fields if each.name in seen), None)


def _output_only(field: FieldDescriptor) -> bool:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.OUTPUT_ONLY in behaviors


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name[:_COMPARED], names, n=1)
    return f": did you mean {near[0]!r}?" if near else f": there are {', '.join(names)}"


def _what(node: Node) -> str:
    match node:
        case Items():
            return "a list"
        case Entries():
            return "a map"
        case Scalar() if node.is_null:
            return "nothing"
        case Scalar():
            return shown(node.text)
