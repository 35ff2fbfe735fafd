"""The OpenAPI document: valid, complete, and true to what the transcoder reads and writes."""

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from google.protobuf import json_format
from google.protobuf.message import Message
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from rule_service.api.http.bindings import Binding, bindings_of
from rule_service.api.http.comments import load_comments
from rule_service.api.http.docs_page import docs_page
from rule_service.api.http.openapi import openapi_document, openapi_routes, path_of
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.errors import Conflict, FailedPrecondition, InvalidInput, NotFound, Position, Unavailable
from rulecast.reasons import Reason
from rulecast.rpc.errors import to_status
from rulecast.v1 import (
    bundle_pb2,
    delivery_pb2,
    discovery_pb2,
    distribution_pb2,
    group_pb2,
    history_pb2,
    namespace_pb2,
    preview_pb2,
    rule_pb2,
    target_pb2,
    template_pb2,
)
from tests.support.messages import filled

FILES = (
    namespace_pb2,
    group_pb2,
    target_pb2,
    template_pb2,
    rule_pb2,
    delivery_pb2,
    discovery_pb2,
    history_pb2,
    bundle_pb2,
    preview_pb2,
    distribution_pb2,
)
BINDINGS = bindings_of(service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())
DOCUMENT = openapi_document(BINDINGS, load_comments())
SCHEMAS = DOCUMENT["components"]["schemas"]
CHOICES = [
    pytest.param(binding, choice, id=f"{choice} of {binding.verb} {binding.path}")
    for binding in BINDINGS
    for choice in range(max([3, *(len(oneof.fields) for oneof in binding.request.DESCRIPTOR.oneofs)]))
]
"""Every alternative of every oneof: none below a request has more than three."""

by_name = pytest.mark.parametrize("binding", BINDINGS, ids=lambda each: f"{each.verb} {each.path}")


def operation(binding: Binding) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path_of(binding)][binding.verb.lower()]
    return found


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document, at any depth."""
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(below)


def closed(schema: dict[str, Any]) -> OAS31Validator:
    """A validator that knows the components, and lets no object have a property that its schema does not name."""
    root = copy.deepcopy({"components": DOCUMENT["components"], **schema})
    for node in nodes(root):
        if node.get("type") == "object" and "properties" in node:
            node["additionalProperties"] = False
    return OAS31Validator(root, format_checker=OAS31Validator.FORMAT_CHECKER)


def complaints(schema: dict[str, Any], value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in closed(schema).iter_errors(value)]


def content(carrier: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = carrier["content"]["application/json"]["schema"]
    return schema


def as_json(message: Message) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_it_is_valid_openapi_3_1() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_binding_is_in_it_and_nothing_else() -> None:
    described = [(verb.upper(), path) for path, operations in DOCUMENT["paths"].items() for verb in operations]
    assert sorted(described) == sorted((each.verb, path_of(each)) for each in BINDINGS)


def test_no_two_paths_have_one_shape() -> None:
    shapes = [re.sub(r"\{[^}]+\}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(shapes) == len(set(shapes))


def test_every_reference_leads_somewhere() -> None:
    references = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    for reference in references:
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]
    assert len(references) > len(BINDINGS)


def test_every_schema_is_referred_to() -> None:
    referred = {node["$ref"].rpartition("/")[2] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert set(SCHEMAS) <= referred


@by_name
def test_every_operation_says_what_it_does(binding: Binding) -> None:
    shown = operation(binding)
    method = binding.method.rpartition("/")[2]
    assert shown["operationId"].startswith(method)
    assert len(shown["summary"].split()) > 2
    assert shown["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}


def test_operation_ids_are_unique() -> None:
    ids = [operation(binding)["operationId"] for binding in BINDINGS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("binding", "choice"), CHOICES)
def test_a_full_answer_fits(binding: Binding, choice: int) -> None:
    answer = json.loads(encode_response(binding, filled(binding.response(), choice)))
    assert complaints(content(operation(binding)["responses"]["200"]), answer) == []


@by_name
def test_an_empty_answer_fits(binding: Binding) -> None:
    answer = json.loads(encode_response(binding, binding.response()))
    assert complaints(content(operation(binding)["responses"]["200"]), answer) == []


@pytest.mark.parametrize(("binding", "choice"), CHOICES)
def test_a_body_that_fits_is_read(binding: Binding, choice: int) -> None:
    body = as_json(filled(binding.request(), choice)) if binding.body else {}
    path = {}
    for variable in binding.variables:
        *parents, last = variable.split(".")
        holder = body
        for name in parents:
            holder = holder.get(name, {})
        path[variable] = str(holder.pop(last, "7"))
    if binding.body:
        assert complaints(content(operation(binding)["requestBody"]), body) == []
        assert complaints(content(operation(binding)["requestBody"]), {**body, "nobody_knows_me": 1})
    assert isinstance(decode_request(binding, path, (), json.dumps(body).encode()), binding.request)


@by_name
def test_every_query_parameter_is_read(binding: Binding) -> None:
    path = dict.fromkeys(binding.variables, "7")
    for parameter in operation(binding).get("parameters", ()):
        if parameter["in"] == "query":
            before = decode_request(binding, path, (), b"")
            after = decode_request(binding, path, [(parameter["name"], sample(parameter["schema"]))], b"")
            assert before != after, parameter["name"]


def sample(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(SCHEMAS[schema["$ref"].rpartition("/")[2]]["enum"][-1])
    if "items" in schema:
        return sample(schema["items"])
    if "examples" in schema:
        return str(schema["examples"][0])
    return {"boolean": "true", "integer": "7", "string": "text"}[schema["type"]]


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput.of("rule.id", Reason.ID_INVALID, "bad", Position(1, 2)),
        NotFound.of("id", Reason.RULE_NOT_FOUND, "no", id="x"),
        FailedPrecondition.of("id", Reason.GROUP_NOT_EMPTY, "full"),
        Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away"),
        ZeroDivisionError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_fit(error: Exception) -> None:
    _, body = encode_error(to_status(error, request_id="r-1"))
    assert complaints({"$ref": "#/components/schemas/Error"}, json.loads(body)) == []


def test_the_current_state_that_goes_along_fits() -> None:
    resource = history_pb2.Resource(group=filled(group_pb2.Group()))
    _, body = encode_error(to_status(Conflict.of("etag", Reason.ETAG_MISMATCH, "old"), more=resource))
    assert '"type.googleapis.com/rulecast.v1.Resource"' in body.decode()
    assert complaints({"$ref": "#/components/schemas/Error"}, json.loads(body)) == []


@pytest.mark.parametrize(
    ("schema", "field", "expected"),
    [
        ("RuleFile", "size_bytes", {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}),
        ("RuleFile", "revision", {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}),
        ("RuleFile", "sha256", {"type": "string", "contentEncoding": "base64"}),
        ("RuleFile", "modified_at", {"type": "string", "format": "date-time"}),
        ("RuleFile", "scope", {"$ref": "#/components/schemas/Scope"}),
        ("Rollout", "state", {"$ref": "#/components/schemas/Rollout.State"}),
        ("Target", "labels", {"type": "object", "additionalProperties": {"type": "string"}}),
        ("Target", "exporters", {"type": "array", "items": {"$ref": "#/components/schemas/Exporter"}}),
        ("AlertRule", "enabled", {"type": "boolean"}),
        ("AlertRule", "metadata", {"$ref": "#/components/schemas/Metadata", "readOnly": True}),
    ],
)
def test_a_field_is_described_as_its_json_is(schema: str, field: str, expected: dict[str, Any]) -> None:
    shown = SCHEMAS[schema]["properties"][field]
    assert {key: value for key, value in shown.items() if key != "description"} == expected


def test_only_one_of_a_choice_may_be_there() -> None:
    scope = {"$ref": "#/components/schemas/Scope"}
    assert complaints(scope, {"group_id": "prod"}) == []
    assert complaints(scope, {"group_id": "prod", "global": {}})


def test_what_a_request_needs_is_required_unless_the_path_has_it() -> None:
    assert SCHEMAS["CreateTargetRequest"]["required"] == ["target"]
    assert "required" not in SCHEMAS["RegenerateGroupRequestBody"]
    assert "group_id" not in SCHEMAS["RegenerateGroupRequestBody"]["properties"]


def test_comments_are_found_at_every_depth() -> None:
    comments = load_comments()
    assert comments["rulecast.v1.TargetService.ListTargets"] == "Lists targets, by id."
    assert comments["rulecast.v1.Target.address"].startswith("IP address or name")
    assert comments["rulecast.v1.Rollout.State.DEFERRED"].startswith("Prometheus does not answer.")
    assert comments["rulecast.v1.ScopeMode"].endswith("itself.")
    assert "- `PENDING`: On its way" in SCHEMAS["Rollout.State"]["description"]


class Page(HTMLParser):
    """Collects what the page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        self.links |= {given["href"] or ""} if "href" in given else set()
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_everything_and_fetches_nothing() -> None:
    text = docs_page(DOCUMENT, "/api/v1/openapi.json")
    page = Page(text)
    assert page.open == []
    assert {link for link in page.links if not link.startswith("#")} == {"/api/v1/openapi.json"}
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= page.ids
    assert {f"operation-{operation(each)['operationId']}" for each in BINDINGS} <= page.ids
    assert {f"schema-{name}" for name in SCHEMAS} <= page.ids
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "url(" not in text


def test_the_page_takes_nothing_for_html() -> None:
    hostile = "<script>alert(1)</script> `<b>` \"'&"
    comments = dict.fromkeys(load_comments(), hostile)
    page = Page(docs_page(openapi_document(BINDINGS, comments), "/x"))
    assert not page.tags & {"script", "b"}


async def test_both_are_served() -> None:
    (document, page) = openapi_routes(BINDINGS)
    answers = {}
    for route in (document, page):
        answer: Any = await route.handler(make_mocked_request("GET", route.path))
        answers[route.path] = answer
    assert json.loads(answers["/api/v1/openapi.json"].body) == DOCUMENT
    assert answers["/api/v1/openapi.json"].content_type == "application/json"
    assert answers["/api/v1/docs"].headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answers["/api/v1/docs"].headers["Content-Security-Policy"]
