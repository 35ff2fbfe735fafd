"""The comments of the protos, which generated code has not: from the descriptors that `deploy.proto` writes."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

Comments = Mapping[str, str]
"""Markdown by full name, e.g. `rulecast.v1.Target.hostname`; a value of an enum is below it: `package.Enum.VALUE`."""

_Path = tuple[int, ...]
_Named = Iterable[tuple[_Path, str]]


def load_comments() -> Comments:
    """The comments of all protos of `rulecast.v1`."""
    descriptors = files("rulecast.v1").joinpath("descriptors.binpb").read_bytes()
    return {name: text for file in FileDescriptorSet.FromString(descriptors).file for name, text in _commented(file)}


def _commented(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    texts = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for path, name in _named(file):
        if path in texts:
            yield f"{file.package}.{name}", _without_margin(texts[path])


def _without_margin(text: str) -> str:
    """The blank between `//` and the text belongs to neither."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in text.splitlines()).strip("\n")


def _named(file: FileDescriptorProto) -> Iterator[tuple[_Path, str]]:
    """Everything that has a name, with its path: pairs of a field's number in the descriptor and an index."""
    for at, service in enumerate(file.service):
        here = (FileDescriptorProto.SERVICE_FIELD_NUMBER, at)
        yield here, service.name
        for number, method in enumerate(service.method):
            yield (*here, service.METHOD_FIELD_NUMBER, number), f"{service.name}.{method.name}"
    for at, message in enumerate(file.message_type):
        yield from _in_message(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, at), message.name)
    for at, enum in enumerate(file.enum_type):
        yield from _in_enum(enum, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, at), enum.name)


def _in_message(message: DescriptorProto, here: _Path, name: str) -> _Named:
    yield here, name
    for at, field in enumerate(message.field):
        yield (*here, message.FIELD_FIELD_NUMBER, at), f"{name}.{field.name}"
    for at, nested in enumerate(message.nested_type):
        yield from _in_message(nested, (*here, message.NESTED_TYPE_FIELD_NUMBER, at), f"{name}.{nested.name}")
    for at, enum in enumerate(message.enum_type):
        yield from _in_enum(enum, (*here, message.ENUM_TYPE_FIELD_NUMBER, at), f"{name}.{enum.name}")


def _in_enum(enum: EnumDescriptorProto, here: _Path, name: str) -> _Named:
    yield here, name
    for at, value in enumerate(enum.value):
        yield (*here, enum.VALUE_FIELD_NUMBER, at), f"{name}.{value.name}"
