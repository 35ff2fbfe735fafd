"""docs/en/reference/api.md: every service, method, message and field of the protos, with their comments."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Final

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from deploy.reference.markdown import anchor, code, table
from rule_service.api.http.comments import Comments, load_comments

_PACKAGE: Final = "rulecast.v1."
_INTRODUCTION: Final = """\
# API

Written by `python -m deploy.reference` from `protos/rulecast/v1/*.proto`. The rule service answers every method with an
HTTP path as JSON too; `/api/v1/openapi.json` is the same for programs. `DeployerService` is each deployer's own, and
`DistributionService` is between the two. How errors look and what their reasons mean: [errors](errors.md).

"""
_BEHAVIORS: Final = {
    field_behavior_pb2.REQUIRED: "Required.",
    field_behavior_pb2.OUTPUT_ONLY: "Output only.",
    field_behavior_pb2.IMMUTABLE: "Can not be changed later.",
}


def api_page() -> str:
    protos = FileDescriptorSet.FromString(files("rulecast.v1").joinpath("descriptors.binpb").read_bytes()).file
    comments = load_comments()
    parts = [_INTRODUCTION]
    for file in protos:
        for service in file.service:
            parts.append(f"- [{service.name}](#{anchor(service.name)})\n")
    for file in protos:
        parts += _services(file, comments)
    parts.append("\n## Messages\n")
    for file in protos:
        for message in file.message_type:
            parts += _message(message, message.name, comments)
        for enum in file.enum_type:
            parts += _enum(enum, enum.name, comments)
    return "".join(parts)


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for service in file.service:
        yield f"\n## {service.name}\n\n{_text(comments, service.name)}\n"
        for method in service.method:
            yield f"\n### {service.name}.{method.name}\n\n{_text(comments, f'{service.name}.{method.name}')}\n\n"
            yield f"{_signature(method)}\n"
            yield from (f"- HTTP: {code(f'{verb} {path}')}{body}\n" for verb, path, body in _paths(method))


def _signature(method: MethodDescriptorProto) -> str:
    sent, got = (" of a stream" if each else "" for each in (method.client_streaming, method.server_streaming))
    return f"- gRPC: takes {_link(method.input_type)}{sent}, answers {_link(method.output_type)}{got}"


def _paths(method: MethodDescriptorProto) -> Iterator[tuple[str, str, str]]:
    rule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb is not None:
            body = ", the body is the request" if each.body == "*" else ""
            answer = f", answers `{each.response_body}` alone" if each.response_body else ""
            yield verb.upper(), getattr(each, verb), body + answer


def _message(message: DescriptorProto, name: str, comments: Comments) -> Iterator[str]:
    if message.options.map_entry:
        return
    yield f"\n### {name}\n\n"
    if said := _text(comments, name):
        yield f"{said}\n\n"
    yield table(("Field", "Type", ""), (_field(field, message, name, comments) for field in message.field))
    for nested in message.nested_type:
        yield from _message(nested, f"{name}.{nested.name}", comments)
    for enum in message.enum_type:
        yield from _enum(enum, f"{name}.{enum.name}", comments)


def _field(field: FieldDescriptorProto, of: DescriptorProto, name: str, comments: Comments) -> tuple[str, str, str]:
    behaviors: Iterable[int] = field.options.Extensions[field_behavior_pb2.field_behavior]
    marks = [_BEHAVIORS[each] for each in behaviors if each in _BEHAVIORS]
    if field.HasField("oneof_index") and not field.proto3_optional:
        marks.append(f"One of `{of.oneof_decl[field.oneof_index].name}`.")
    said = _text(comments, f"{name}.{field.name}")
    return code(field.name), _type(field, of), " ".join([*marks, said])


def _type(field: FieldDescriptorProto, of: DescriptorProto) -> str:
    entry = next((each for each in of.nested_type if field.type_name.endswith(f".{of.name}.{each.name}")), None)
    if entry is not None and entry.options.map_entry:
        key, value = entry.field
        return f"map of {_single(key)} to {_single(value)}"
    what = _single(field)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {what}"
    return f"{what}, optional" if field.proto3_optional else what


def _single(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return code(FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower())


def _link(full_name: str) -> str:
    name = full_name.removeprefix(".")
    if not name.startswith(_PACKAGE):
        return code(name)
    short = name.removeprefix(_PACKAGE)
    return f"[{short}](#{anchor(short)})"


def _enum(enum: EnumDescriptorProto, name: str, comments: Comments) -> Iterator[str]:
    yield f"\n### {name}\n\n"
    if said := _text(comments, name):
        yield f"{said}\n\n"
    rows = ((code(value.name), str(value.number), _text(comments, f"{name}.{value.name}")) for value in enum.value)
    yield table(("Value", "Number", ""), rows)


def _text(comments: Comments, name: str) -> str:
    return comments.get(f"{_PACKAGE}{name}", "")
