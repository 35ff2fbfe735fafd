"""HTTP and JSON to RPCs, from the annotations of the protos."""

import json

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from rule_service.api.http.bindings import Binding, bindings_of
from rule_service.api.http.transcode import decode_request, encode_error, encode_response
from rulecast.errors import FailedPrecondition, InvalidInput, NotFound
from rulecast.reasons import Reason
from rulecast.rpc.errors import to_status
from rulecast.v1 import (
    common_pb2,
    delivery_pb2,
    discovery_pb2,
    group_pb2,
    history_pb2,
    namespace_pb2,
    rule_pb2,
    target_pb2,
    template_pb2,
)

FILES = (
    namespace_pb2,
    group_pb2,
    target_pb2,
    template_pb2,
    rule_pb2,
    delivery_pb2,
    discovery_pb2,
    history_pb2,
)
BINDINGS = bindings_of(service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())

MUST_EXIST = {
    ("POST", "/api/v1/prometheus/rules/regenerate"),
    ("POST", "/api/v1/prometheus/rules/regenerate/{group_id}"),
    ("GET", "/api/v1/prometheus/rules/files"),
    ("POST", "/api/v1/prometheus/reload"),
    ("GET", "/api/v1/prometheus/rules/effective/{target_id}"),
    ("GET", "/api/v1/prometheus/status"),
    *(
        (verb, f"/api/v1/{collection}")
        for verb in ("GET", "POST")
        for collection in ("alert-templates", "alert-rules", "groups", "namespaces", "targets")
    ),
}


def binding(method: str, verb: str = "") -> Binding:
    return next(each for each in BINDINGS if each.method.endswith(f"/{method}") and verb in ("", each.verb))


def decoded(method: str, path: dict[str, str] | None = None, query: str = "", body: object = None) -> Message:
    pairs = [tuple(pair.split("=", 1)) for pair in query.split("&") if pair]
    text = b"" if body is None else json.dumps(body).encode()
    return decode_request(binding(method), path or {}, pairs, text)  # type: ignore[arg-type]


def test_the_promised_paths_exist() -> None:
    assert {(each.verb, each.path) for each in BINDINGS} >= MUST_EXIST


def test_no_two_bindings_share_a_verb_and_a_path() -> None:
    keys = [(each.verb, each.route) for each in BINDINGS]
    assert len(keys) == len(set(keys))


def test_every_variable_of_a_path_is_a_field_of_the_request() -> None:
    for each in BINDINGS:
        for variable in each.variables:
            message: Message = each.request()
            for name in variable.split("."):
                assert name in message.DESCRIPTOR.fields_by_name, (each.path, variable)
                message = getattr(message, name)


def test_a_body_becomes_the_request() -> None:
    request = decoded(
        "CreateAlertRule",
        body={"rule": {"scope": {"group_id": "prod"}, "config": {"parameters": {"threshold": 80, "window": "5m"}}}},
    )
    assert isinstance(request, rule_pb2.CreateAlertRuleRequest)
    assert request.rule.scope.group_id == "prod"
    assert request.rule.config.parameters["threshold"].number_value == 80
    assert request.rule.config.parameters["window"].string_value == "5m"


def test_a_variable_of_the_path_lands_in_its_field() -> None:
    request = decoded("UpdateAlertRule", {"rule.id": "cpu"}, body={"rule": {"enabled": False}})
    assert isinstance(request, rule_pb2.UpdateAlertRuleRequest)
    assert (request.rule.id, request.rule.enabled, request.rule.HasField("enabled")) == ("cpu", False, True)


@pytest.mark.parametrize("mask", ["config.for_duration,enabled", "config.forDuration, enabled"])
def test_a_mask_may_be_written_in_either_case(mask: str) -> None:
    request = decoded("UpdateAlertRule", {"rule.id": "cpu"}, body={"rule": {}, "update_mask": mask})
    assert isinstance(request, rule_pb2.UpdateAlertRuleRequest)
    assert list(request.update_mask.paths) == ["config.for_duration", "enabled"]


def test_query_parameters_are_fields_nested_and_typed() -> None:
    request = decoded("ListAlertRules", query="page_size=5&show_deleted=true&scope.group_id=prod&enabled=false")
    assert request == rule_pb2.ListAlertRulesRequest(
        page_size=5, show_deleted=True, scope=common_pb2.Scope(group_id="prod"), enabled=False
    )


def test_a_number_in_the_path() -> None:
    request = decoded("WaitForRollout", {"revision": "12"}, query="timeout=2.5s")
    assert isinstance(request, delivery_pb2.WaitForRolloutRequest)
    assert (request.revision, request.timeout.ToTimedelta().total_seconds()) == (12, 2.5)


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "says"),
    [
        ("CreateGroup", {}, "", b"{", "not JSON"),
        ("CreateGroup", {}, "", b"[1]", "not a JSON object"),
        ("CreateGroup", {}, "", b'{"grup": {}}', "grup"),
        ("CreateGroup", {}, "", b'{"group": {"id": 5}}', "id"),
        ("CreateGroup", {}, "dry=1", b"{}", "no query parameters"),
        ("ListGroups", {}, "pagesize=5", b"", "no such query parameter"),
        ("ListGroups", {}, "page_size=many", b"", "page_size"),
        ("ListAlertRules", {}, "enabled=yes", b"", "true or false"),
        ("GetRollout", {"revision": "x"}, "", b"", "not a number"),
        ("UpdateGroup", {"group.id": "a"}, "", b'{"group": {"id": "b"}}', "the path says"),
        ("UpdateGroup", {"group.id": "a"}, "", b'{"update_mask": ["id"]}', "a list is not a text"),
        ("CreateGroup", {}, "", b"[" * 100_000, "not JSON"),
    ],
)
def test_what_does_not_fit_is_refused_with_words(
    method: str, path: dict[str, str], query: str, body: bytes, says: str
) -> None:
    pairs = [tuple(pair.split("=", 1)) for pair in query.split("&") if pair]
    with pytest.raises(InvalidInput, match=says):
        decode_request(binding(method), path, pairs, body)  # type: ignore[arg-type]


def test_answers_have_the_names_of_the_protos_and_all_fields() -> None:
    files = delivery_pb2.ListRuleFilesResponse(files=[delivery_pb2.RuleFile(file_name="group-a.yml", group_id="a")])
    answer = json.loads(encode_response(binding("ListRuleFiles"), files))
    assert answer[0].items() >= {"file_name": "group-a.yml", "group_id": "a", "rule_count": 0}.items()
    assert answer[0].keys() >= {"size_bytes"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput.of("rule.id", Reason.ID_INVALID, "bad"), 400),
        (NotFound.of("id", Reason.RULE_NOT_FOUND, "no"), 404),
        (FailedPrecondition.of("id", Reason.GROUP_NOT_EMPTY, "full"), 400),
    ],
)
def test_errors_have_one_shape_with_their_details(error: Exception, status: int) -> None:
    http_status, body = encode_error(to_status(error))
    shown = json.loads(body)["error"]
    assert (http_status, shown["code"]) == (status, status)
    assert any(detail.get("reason") == error.reason for detail in shown["details"])  # type: ignore[attr-defined]


def test_every_code_that_we_use_has_a_status_of_its_own() -> None:
    used = (code_pb2.INVALID_ARGUMENT, code_pb2.NOT_FOUND, code_pb2.ABORTED, code_pb2.UNAVAILABLE)
    assert [encode_error(status_pb2.Status(code=code))[0] for code in used] == [400, 404, 409, 503]
    assert encode_error(status_pb2.Status(code=code_pb2.INTERNAL))[0] == 500


@pytest.mark.parametrize(
    ("method", "body", "says"),
    [
        ("CreateGroup", b'{"group": {"id": "a"}, "group": {"id": "b"}}', "'group' twice"),
        ("CreateGroup", b'{"group": {"id": "a", "id": "a"}}', "'id' twice"),
        ("CreateGroup", b'{"group": {"id": "a"}, "reason": NaN}', "NaN is no JSON number"),
        ("CreateGroup", b'{"group": -Infinity}', "-Infinity is no JSON number"),
        ("CreateGroup", b'{"group": {"id": "\xff"}}', "byte 18 of it"),
        ("CreateGroup", '{"group": {"id": "a"}}'.encode("utf-16"), "not UTF-8"),
        ("CreateGroup", b"[" * 100_000, "not JSON"),
        ("DeleteGroup", b'{"validate_only": true}', "takes no body"),
        ("ListGroups", b'{"page_size": 5}', "takes no body"),
    ],
)
def test_a_body_that_two_readers_may_understand_differently_is_refused(method: str, body: bytes, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_request(binding(method), {"id": "a"} if method == "DeleteGroup" else {}, (), body)
    assert says in str(refused.value)


def test_a_field_that_is_named_in_both_ways_is_refused() -> None:
    for body, field in (
        ({"updateMask": "enabled", "update_mask": "enabled"}, "update_mask"),
        ({"validateOnly": True, "validate_only": True}, "validate_only"),
        ({"rule": {"spec": {"alertName": "A", "alert_name": "B"}}}, "rule.spec.alert_name"),
        (
            {"rule": {"spec": {"parameters": [{"name": "a"}]}, "mergeStrategy": 1, "merge_strategy": 2}},
            "rule.merge_strategy",
        ),
    ):
        with pytest.raises(InvalidInput) as refused:
            decoded("UpdateAlertRule", {"rule.id": "cpu"}, body=body)
        assert refused.value.violations[0].field == field


def test_names_of_fields_are_read_in_both_ways() -> None:
    one = decoded("CreateAlertRule", body={"rule": {"mergeStrategy": "OVERRIDE"}, "validateOnly": True})
    other = decoded("CreateAlertRule", body={"rule": {"merge_strategy": "OVERRIDE"}, "validate_only": True})
    assert one == other
    assert decoded("ListAlertRules", query="pageSize=5&scope.groupId=a") == decoded(
        "ListAlertRules", query="page_size=5&scope.group_id=a"
    )


def test_a_byte_order_mark_and_an_empty_object_do_no_harm() -> None:
    request = decode_request(binding("CreateGroup"), {}, (), b'\xef\xbb\xbf{"group": {"id": "a"}}')
    assert isinstance(request, group_pb2.CreateGroupRequest)
    assert request.group.id == "a"
    assert decode_request(binding("ListGroups"), {}, (), b"{}") == group_pb2.ListGroupsRequest()
