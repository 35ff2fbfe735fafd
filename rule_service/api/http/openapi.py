"""The OpenAPI 3.1 document of the HTTP API, from the same descriptors as the gateway, and the routes that serve it."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from aiohttp import web
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from rule_service.api.http.bindings import Binding
from rule_service.api.http.comments import Comments, load_comments
from rule_service.api.http.docs_page import docs_page
from rule_service.api.http.error_schemas import error_schemas
from rule_service.api.http.schemas import Json, Schemas, is_required
from rulecast.process.telemetry import SOFTWARE_VERSION

DOCUMENT_PATH = "/api/v1/openapi.json"
PAGE_PATH = "/api/v1/docs"

_JSON = "application/json"
_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_EMPTY = "google.protobuf.Empty"
_WELL_KNOWN = "google.protobuf."
_NUMBERS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32)
_SENTENCE_END = re.compile(r"(?<=[.])\s+(?=[A-Z`])|\n\n")
_INTRODUCTION = """\
One alert, other settings for other groups of hosts: rules in a database, proven to run in Prometheus.

Every call is a gRPC call of the same name too. Names of fields are those of the protos; camelCase is understood as
well. A field that a request does not know is refused. 64-bit integers are text, bytes are base64, durations are
seconds such as `1.5s`. Every error has the shape of the schema `Error`.

A body is JSON in UTF-8, in which no object names a field twice. The header `Grpc-Timeout` gives a call a deadline:
`5S`, `500m`. A call whose client goes away is cancelled: a write is then done as a whole or not at all.
"""
_NEXT_PAGE: Json = {
    "description": 'Where there is a next page: its address, with rel="next" (RFC 8288).',
    "schema": {"type": "string"},
}


def openapi_routes(bindings: Iterable[Binding]) -> list[web.RouteDef]:
    """The document at `/api/v1/openapi.json` and a readable page of it at `/api/v1/docs`. Both are made once, here."""
    document = openapi_document(bindings, load_comments())
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    page = docs_page(document, DOCUMENT_PATH).encode()

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=text, content_type=_JSON)

    async def docs(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _CONTENT_POLICY}
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)

    return [web.get(DOCUMENT_PATH, openapi), web.get(PAGE_PATH, docs)]


def openapi_document(bindings: Iterable[Binding], comments: Comments) -> Json:
    """The document of these bindings. Raises ValueError for a field whose type has no JSON schema yet."""
    schemas = Schemas(comments)
    paths: dict[str, Json] = {}
    services: dict[str, ServiceDescriptor] = {}
    ids: set[str] = set()
    for binding in bindings:
        method = _method(binding)
        services.setdefault(method.containing_service.full_name, method.containing_service)
        operation = {"operationId": _unused(method.name, ids), **_operation(binding, method, schemas, comments)}
        paths.setdefault(path_of(binding), {})[binding.verb.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rulecast",
            "version": SOFTWARE_VERSION,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": _tag(service), "description": comments.get(service.full_name, "")} for service in services.values()
        ],
        # the second choice is none: on loopback nobody has to say who they are
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of TokenService: `rc_...`."}
            },
            "schemas": {**dict(sorted(schemas.components.items())), **error_schemas()},
            "responses": {"Error": _answer("The call failed.", {"$ref": "#/components/schemas/Error"})},
        },
    }


def path_of(binding: Binding) -> str:
    """The path in the document, `/api/v1/groups/{id}` for `{group.id}`: there may be one only of each shape."""
    path = binding.path
    for variable in binding.variables:
        path = path.replace(f"{{{variable}}}", f"{{{_short(variable)}}}")
    return path


def _operation(binding: Binding, method: MethodDescriptor, schemas: Schemas, comments: Comments) -> Json:
    summary, description = _summary_and_rest(comments.get(method.full_name, method.name))
    request = method.input_type
    operation: Json = {"tags": [_tag(method.containing_service)], "summary": summary}
    if description:
        operation["description"] = description
    if parameters := [*_path_parameters(binding, request, schemas), *_query_parameters(binding, request, schemas)]:
        operation["parameters"] = parameters
    if binding.body:
        operation["requestBody"] = _body(binding, request, schemas)
    answer = method.output_type
    schema = (
        schemas.of_field(answer.fields_by_name[binding.response_body])
        if binding.response_body
        else schemas.of_message(answer)
    )
    done = _answer("Done.", schema)
    if binding.response_body and "next_page_token" in answer.fields_by_name:
        done["headers"] = {"Link": _NEXT_PAGE}
    operation["responses"] = {
        "200": done,
        "default": {"$ref": "#/components/responses/Error"},
    }
    return operation


def _path_parameters(binding: Binding, request: Descriptor, schemas: Schemas) -> Iterator[Json]:
    for variable in binding.variables:
        field = _field(request, variable)
        schema = _text_schema(field, schemas)
        if field.cpp_type in _NUMBERS:
            schema["minimum"] = 0
        else:
            schema["pattern"] = "^[^/:]+$"
        if "." in variable:
            # it says how to choose an id, not which one is meant
            schema.pop("description", None)
        yield {"name": _short(variable), "in": "path", "required": True, **_described(schema)}


def _query_parameters(binding: Binding, request: Descriptor, schemas: Schemas) -> Iterator[Json]:
    if binding.body == "*":
        return
    taken = {*binding.variables, binding.body}
    for field in request.fields:
        if field.name not in taken:
            yield from _query_parameter(field, field.name, schemas)


def _query_parameter(field: FieldDescriptor, name: str, schemas: Schemas) -> Iterator[Json]:
    """One parameter; for a message one for each of its fields. What has no form in a query is left out."""
    message = field.message_type
    if message is not None and (message.full_name == _EMPTY or message.GetOptions().map_entry):
        return
    if message is not None and not message.full_name.startswith(_WELL_KNOWN):
        for below in message.fields:
            yield from _query_parameter(below, f"{name}.{below.name}", schemas)
        return
    yield {"name": name, "in": "query", "required": is_required(field), **_described(_text_schema(field, schemas))}


def _text_schema(field: FieldDescriptor, schemas: Schemas) -> Json:
    """As a field's schema in JSON, but for 64-bit integers: in a URL all numbers are text anyway."""
    schema = {key: value for key, value in schemas.of_field(field).items() if key != "readOnly"}
    if schema.get("format") == "int64":
        return {**{key: schema[key] for key in schema if key != "pattern"}, "type": "integer"}
    return schema


def _body(binding: Binding, request: Descriptor, schemas: Schemas) -> Json:
    if binding.body == "*":
        in_path = [variable for variable in binding.variables if "." not in variable]
        schema = schemas.of_body(request, in_path)
        needed = any(is_required(field) for field in request.fields if field.name not in in_path)
    else:
        field = request.fields_by_name[binding.body]
        schema, needed = schemas.of_field(field), is_required(field)
    return {"required": needed, "content": {_JSON: {"schema": schema}}}


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _described(schema: Json) -> Json:
    """A parameter's description stands beside its schema."""
    bare = {key: value for key, value in schema.items() if key != "description"}
    said = schema.get("description")
    return {"description": said, "schema": bare} if said else {"schema": bare}


def _summary_and_rest(text: str) -> tuple[str, str]:
    first, *rest = _SENTENCE_END.split(text, maxsplit=1)
    return " ".join(first.split()).removesuffix("."), "".join(rest)


def _method(binding: Binding) -> MethodDescriptor:
    pool = binding.request.DESCRIPTOR.file.pool
    method: Any = pool.FindMethodByName(binding.method.removeprefix("/").replace("/", "."))
    return cast(MethodDescriptor, method)


def _field(message: Descriptor, path: str) -> FieldDescriptor:
    first, _, rest = path.partition(".")
    field = message.fields_by_name[first]
    return _field(field.message_type, rest) if rest and field.message_type is not None else field


def _short(variable: str) -> str:
    return variable.rpartition(".")[2]


def _tag(service: ServiceDescriptor) -> str:
    return service.name.removesuffix("Service")


def _unused(name: str, ids: set[str]) -> str:
    """The name, with a number behind it for the further bindings of one RPC."""
    number = 1
    while (id := name if number == 1 else f"{name}{number}") in ids:
        number += 1
    ids.add(id)
    return id
