"""JSON schemas of messages, as our JSON has them (protobuf's JSON mapping, with the names of the protos).

A field that may be left out is not required: a resource is read whole and written in part by the same schema. Only
the fields that a request says are REQUIRED are.
"""

from collections.abc import Collection
from itertools import combinations
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from rule_service.api.http.comments import Comments

Json = dict[str, Any]

_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    # as text: the numbers of JavaScript are exact up to 2^53 only
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
    "google.protobuf.FieldMask": {"type": "string", "examples": ["description,config.for_duration"]},
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
    "google.protobuf.Value": {"description": "Any JSON value."},
}


class Schemas:
    """Makes schemas. `components`: those that others refer to, by the names by which they do."""

    def __init__(self, comments: Comments) -> None:
        self._comments = comments
        self.components: dict[str, Json] = {}

    def of_field(self, field: FieldDescriptor) -> Json:
        """The schema of a field, with what is said about it. Raises ValueError for a type whose JSON is not known."""
        return {**self._of_type(field), **self._said_of(field)}

    def of_message(self, message: Descriptor) -> Json:
        """A reference to the schema of a message."""
        name = _name(message)
        if name not in self.components:
            self.components[name] = {}  # before its fields: a message may hold itself
            self.components[name] = self._described(message.full_name, self._object(message, message.fields))
        return _reference(name)

    def of_body(self, message: Descriptor, without: Collection[str]) -> Json:
        """A reference to the schema of a request as a body. without: the fields that the path has already."""
        name = f"{_name(message)}Body" if without else _name(message)
        fields = [field for field in message.fields if field.name not in without]
        # a request with a field that is not known is refused
        schema = {**self._object(message, fields), "additionalProperties": False}
        if required := [field.name for field in fields if is_required(field)]:
            schema["required"] = required
        self.components[name] = self._described(message.full_name, schema)
        return _reference(name)

    def _object(self, message: Descriptor, fields: Collection[FieldDescriptor]) -> Json:
        schema: Json = {"type": "object", "properties": {field.name: self.of_field(field) for field in fields}}
        # in place of `oneOf`, which generators of clients make a class of each alternative of
        together = [
            {"required": [one.name, other.name]}
            for oneof in message.oneofs
            for one, other in combinations([field for field in oneof.fields if field in fields], 2)
        ]
        return {**schema, "not": {"anyOf": together}} if together else schema

    def _of_type(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = self._of_value(field.message_type.fields_by_name["value"])
            return {"type": "object", "additionalProperties": values}
        value = self._of_value(field)
        return {"type": "array", "items": value} if field.is_repeated else value

    def _of_value(self, field: FieldDescriptor) -> Json:
        if field.enum_type is not None:
            return self._of_enum(field.enum_type)
        if field.message_type is None:
            if field.type not in _SCALARS:
                raise ValueError(f"{field.full_name}: its type has no JSON schema yet")
            return _SCALARS[field.type]
        if field.message_type.full_name in _WELL_KNOWN:
            return _WELL_KNOWN[field.message_type.full_name]
        if field.message_type.full_name.startswith("google.protobuf."):
            raise ValueError(f"{field.full_name}: {field.message_type.full_name} has no JSON schema yet")
        return self.of_message(field.message_type)

    def _of_enum(self, enum: EnumDescriptor) -> Json:
        said = [self._comments.get(enum.full_name, "")]
        said += [
            f"- `{value.name}`: {' '.join(comment.split())}"
            for value in enum.values
            if (comment := self._comments.get(f"{enum.full_name}.{value.name}"))
        ]
        schema: Json = {"type": "string", "enum": [value.name for value in enum.values]}
        text = "\n\n".join(filter(None, (said[0], "\n".join(said[1:]))))
        self.components[_name(enum)] = {**schema, "description": text} if text else schema
        return _reference(_name(enum))

    def _said_of(self, field: FieldDescriptor) -> Json:
        said = self._described(field.full_name, {})
        behaviors = _behaviors(field)
        if field_behavior_pb2.OUTPUT_ONLY in behaviors:
            return {**said, "readOnly": True}
        if field_behavior_pb2.IMMUTABLE in behaviors:
            text = said.get("description", "")
            return {"description": f"{text}\n\nIt can not be changed later.".strip()}
        return said

    def _described(self, full_name: str, schema: Json) -> Json:
        comment = self._comments.get(full_name)
        return {**schema, "description": comment} if comment else schema


def is_required(field: FieldDescriptor) -> bool:
    return field_behavior_pb2.REQUIRED in _behaviors(field)


def _behaviors(field: FieldDescriptor) -> Collection[int]:
    behaviors: Collection[int] = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return behaviors


def _name(described: Descriptor | EnumDescriptor) -> str:
    """The full name without the package, e.g. `Rollout.State`."""
    return described.full_name.removeprefix(f"{described.file.package}.")


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
