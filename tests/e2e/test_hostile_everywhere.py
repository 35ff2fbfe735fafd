"""Every text field of every call, and all of HTTP, with what nobody should send: refused well, or kept exactly."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from yarl import URL

from deploy.local.parts import PrometheusParts
from rule_service.wiring import PUBLIC
from rulecast.errors import RulecastError
from rulecast.reasons import Reason
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import (
    bundle_pb2,
    common_pb2,
    delivery_pb2,
    discovery_pb2,
    group_pb2,
    history_pb2,
    namespace_pb2,
    preview_pb2,
    rule_pb2,
    target_pb2,
    template_pb2,
    token_pb2,
)
from tests.support.every_text import places
from tests.support.system import RPC, Replica, cpu_rule, global_scope, group_scope, replica

WORST = ("\0", "../../x", 'x"} or vector(1) #', "{{ .nothing }} {{", "- a: b\n---\n&x *y !!z # c\u2028\x1b[31m")
MORE = (
    *("a" * 9_000, "\x01\x7f\u0085\ufeff😀e\u0301", "%s%n$1\\Q\\E${x}", "\r\nHost: x", "' OR 1=1 --", "NaN", " ", "\\"),
    *("{{ $labels.instance }}", '{{ template "x" }}', "`", "[" * 500, "(?=x)", "config.labels." * 200, "1e999", "\n"),
)
REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)
SAID = ("token.id", "token.creator", "token.revoker")
"""Texts that the service says, whatever a request has there."""
MEMORY = 400_000
"""KiB that the service may have used at most after all of it; it needs about 90,000 at rest."""


def the_rule(id: str) -> rule_pb2.AlertRule:
    """A direct rule with a text parameter, so that a text can be written into its config."""
    rule = cpu_rule(id, global_scope(), 90, key="cpu" if id == "there" else id)
    rule.spec.query = 'cpu_percent{mode!="{{ .text_parameter }}"} > {{ .threshold }}'
    parameter = rule.spec.parameters.add(name="text_parameter", type=template_pb2.Parameter.STRING)
    parameter.default.string_value = "x"
    return rule


def the_template(id: str) -> template_pb2.AlertTemplate:
    template = template_pb2.AlertTemplate(id=id, spec=the_rule(id).spec)
    template.spec.parameters[0].default.number_value = 90
    return template


def calls() -> list[tuple[str, str, Any]]:
    """One good request for every call that takes a text: service, method, request. The writes are dry runs."""
    target = target_pb2.Target(id="new", hostname="h.example", group_ids=["there"])
    target.exporters.add(name="node", port=9100)
    beat = target_pb2.TargetHeartbeat(target_id="nobody")
    token = token_pb2.Token(name="ci", role=token_pb2.Token.EDITOR, namespaces=["default"])
    series = rule_pb2.LabelSet(labels={"group_id": "there"})
    dry: dict[str, Any] = {"validate_only": True}
    return [
        ("groups", "CreateGroup", group_pb2.CreateGroupRequest(group=group_pb2.Group(id="new"), **dry)),
        ("groups", "UpdateGroup", group_pb2.UpdateGroupRequest(group=group_pb2.Group(id="there"), **dry)),
        ("groups", "GetGroup", group_pb2.GetGroupRequest(id="there")),
        ("groups", "ListGroups", group_pb2.ListGroupsRequest()),
        ("groups", "DeleteGroup", group_pb2.DeleteGroupRequest(id="there", force=True, **dry)),
        (
            "namespaces",
            "CreateNamespace",
            namespace_pb2.CreateNamespaceRequest(namespace=namespace_pb2.Namespace(id="new"), **dry),
        ),
        (
            "namespaces",
            "UpdateNamespace",
            namespace_pb2.UpdateNamespaceRequest(namespace=namespace_pb2.Namespace(id="default"), **dry),
        ),
        ("namespaces", "GetNamespace", namespace_pb2.GetNamespaceRequest(id="default")),
        ("namespaces", "ListNamespaces", namespace_pb2.ListNamespacesRequest()),
        ("namespaces", "DeleteNamespace", namespace_pb2.DeleteNamespaceRequest(id="default", **dry)),
        ("targets", "CreateTarget", target_pb2.CreateTargetRequest(target=target, **dry)),
        ("targets", "UpdateTarget", target_pb2.UpdateTargetRequest(target=target_pb2.Target(id="there"), **dry)),
        ("targets", "GetTarget", target_pb2.GetTargetRequest(id="there")),
        ("targets", "ListTargets", target_pb2.ListTargetsRequest()),
        ("targets", "DeleteTarget", target_pb2.DeleteTargetRequest(id="there", **dry)),
        (
            "templates",
            "CreateAlertTemplate",
            template_pb2.CreateAlertTemplateRequest(template=the_template("new"), **dry),
        ),
        (
            "templates",
            "UpdateAlertTemplate",
            template_pb2.UpdateAlertTemplateRequest(template=the_template("there"), **dry),
        ),
        ("templates", "GetAlertTemplate", template_pb2.GetAlertTemplateRequest(id="there")),
        ("templates", "ListAlertTemplates", template_pb2.ListAlertTemplatesRequest()),
        ("templates", "DeleteAlertTemplate", template_pb2.DeleteAlertTemplateRequest(id="there", **dry)),
        ("templates", "LoadLibrary", template_pb2.LoadLibraryRequest(**dry)),
        ("rules", "CreateAlertRule", rule_pb2.CreateAlertRuleRequest(rule=the_rule("new"), **dry)),
        ("rules", "UpdateAlertRule", rule_pb2.UpdateAlertRuleRequest(rule=the_rule("there"), **dry)),
        ("rules", "GetAlertRule", rule_pb2.GetAlertRuleRequest(id="there")),
        ("rules", "ListAlertRules", rule_pb2.ListAlertRulesRequest()),
        ("rules", "DeleteAlertRule", rule_pb2.DeleteAlertRuleRequest(id="there", **dry)),
        ("rules", "GetEffectiveRules", rule_pb2.GetEffectiveRulesRequest(series=series)),
        ("rules", "ExplainRule", rule_pb2.ExplainRuleRequest(series=series, key="cpu")),
        ("groups", "UndeleteGroup", group_pb2.UndeleteGroupRequest(id="gone", **dry)),
        ("groups", "PurgeGroup", group_pb2.PurgeGroupRequest(id="gone", **dry)),
        ("groups", "BatchGetGroups", group_pb2.BatchGetGroupsRequest(ids=["there"])),
        ("namespaces", "UndeleteNamespace", namespace_pb2.UndeleteNamespaceRequest(id="gone", **dry)),
        ("namespaces", "PurgeNamespace", namespace_pb2.PurgeNamespaceRequest(id="gone", **dry)),
        ("namespaces", "BatchGetNamespaces", namespace_pb2.BatchGetNamespacesRequest(ids=["gone"])),
        ("targets", "UndeleteTarget", target_pb2.UndeleteTargetRequest(id="gone", **dry)),
        ("targets", "PurgeTarget", target_pb2.PurgeTargetRequest(id="gone", **dry)),
        ("targets", "BatchGetTargets", target_pb2.BatchGetTargetsRequest(ids=["there"])),
        ("targets", "HeartbeatTargets", target_pb2.HeartbeatTargetsRequest(heartbeats=[beat])),
        ("templates", "UndeleteAlertTemplate", template_pb2.UndeleteAlertTemplateRequest(id="gone", **dry)),
        ("templates", "PurgeAlertTemplate", template_pb2.PurgeAlertTemplateRequest(id="gone", **dry)),
        ("templates", "BatchGetAlertTemplates", template_pb2.BatchGetAlertTemplatesRequest(ids=["there"])),
        ("rules", "UndeleteAlertRule", rule_pb2.UndeleteAlertRuleRequest(id="gone", **dry)),
        ("rules", "PurgeAlertRule", rule_pb2.PurgeAlertRuleRequest(id="gone", **dry)),
        ("rules", "BatchGetAlertRules", rule_pb2.BatchGetAlertRulesRequest(ids=["there"])),
        ("rules", "EnableAlertRule", rule_pb2.EnableAlertRuleRequest(id="there", **dry)),
        ("rules", "DisableAlertRule", rule_pb2.DisableAlertRuleRequest(id="there", **dry)),
        ("rules", "RebaseAlertRules", rule_pb2.RebaseAlertRulesRequest(rule_ids=["there"], **dry)),
        ("discovery", "ListScrapeTargets", discovery_pb2.ListScrapeTargetsRequest()),
        ("rules", "RebaseAlertRules", rule_pb2.RebaseAlertRulesRequest(template_id="there", **dry)),
        ("history", "ListRevisions", history_pb2.ListRevisionsRequest()),
        ("history", "GetRevision", history_pb2.GetRevisionRequest(revision=1)),
        ("history", "DiffRevisions", history_pb2.DiffRevisionsRequest(from_revision=1)),
        ("history", "Rollback", history_pb2.RollbackRequest(revision=1, rule_id="there", **dry)),
        ("bundles", "ApplyBundle", bundle_pb2.ApplyBundleRequest(bundle=the_bundle(), **dry)),
        ("bundles", "ApplyBundle", bundle_pb2.ApplyBundleRequest(content="rules: []", **dry)),
        ("bundles", "ExportBundle", bundle_pb2.ExportBundleRequest()),
        ("delivery", "ListRuleFiles", delivery_pb2.ListRuleFilesRequest()),
        ("delivery", "GetRuleFile", delivery_pb2.GetRuleFileRequest(file_name="global.yml")),
        ("delivery", "RegenerateAll", delivery_pb2.RegenerateAllRequest(**dry)),
        ("delivery", "RegenerateGroup", delivery_pb2.RegenerateGroupRequest(group_id="there", **dry)),
        ("delivery", "ReloadPrometheus", delivery_pb2.ReloadPrometheusRequest()),
        ("delivery", "ResyncDeployers", delivery_pb2.ResyncDeployersRequest()),
        ("delivery", "DeleteDeployer", delivery_pb2.DeleteDeployerRequest(id="there")),
        ("tokens", "CreateToken", token_pb2.CreateTokenRequest(token=token)),
        ("tokens", "ListTokens", token_pb2.ListTokensRequest()),
        ("tokens", "RevokeToken", token_pb2.RevokeTokenRequest(id="there")),
    ]


def the_bundle() -> bundle_pb2.Bundle:
    """One new resource of each kind."""
    return bundle_pb2.Bundle(
        namespaces=[namespace_pb2.Namespace(id="new")],
        groups=[group_pb2.Group(id="new", namespace_id="new")],
        targets=[target_pb2.Target(id="new", hostname="h.example", group_ids=["new"])],
        templates=[the_template("new")],
        rules=[the_rule("new")],
    )


def previews() -> list[tuple[str, str, Any]]:
    """A preview of each of the writes."""
    found: list[tuple[str, str, Any]] = []
    for field in preview_pb2.PreviewChangeRequest.DESCRIPTOR.fields:
        for _, _, request in calls():
            if field.message_type == request.DESCRIPTOR:
                write = {field.name: request}
                found.append(("previews", "PreviewChange", preview_pb2.PreviewChangeRequest(**write)))
    return found


def test_every_write_is_previewed_here() -> None:
    names = {request.WhichOneof("change") for _, _, request in previews()}
    assert names == {field.name for field in preview_pb2.PreviewChangeRequest.DESCRIPTOR.fields}


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Replica]:
    """A rule service with one of each, all named `there`, and one of each that was deleted, named `gone`.

    Afterwards all is as it was, and nothing failed inside.
    """
    one = replica(tmp_path, database, prometheus_parts.promtool)
    try:
        await one.start()
        for id in ("there", "gone"):
            await create(one, id)
        await one.targets.DeleteTarget(target_pb2.DeleteTargetRequest(id="gone"), timeout=RPC)
        await one.groups.DeleteGroup(group_pb2.DeleteGroupRequest(id="gone"), timeout=RPC)
        await one.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(id="gone"), timeout=RPC)
        await one.templates.DeleteAlertTemplate(template_pb2.DeleteAlertTemplateRequest(id="gone"), timeout=RPC)
        await one.rules.DeleteAlertRule(rule_pb2.DeleteAlertRuleRequest(id="gone"), timeout=RPC)
        before = await everything(one)
        yield one
        assert await everything(one) == before
        assert await one.serving()
        assert '"level": "error"' not in one.child.log.read_text()
        assert _peak_memory(one.child.pid) < MEMORY
    finally:
        await one.child.stop()
        await one.channel.close()


async def create(service: Replica, id: str) -> None:
    """One of each kind."""
    target = target_pb2.Target(id=id, hostname=f"{id}.example", group_ids=[id])
    namespace = namespace_pb2.Namespace(id=id)
    await service.namespaces.CreateNamespace(namespace_pb2.CreateNamespaceRequest(namespace=namespace), timeout=RPC)
    await service.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id)), timeout=RPC)
    await service.targets.CreateTarget(target_pb2.CreateTargetRequest(target=target), timeout=RPC)
    await service.templates.CreateAlertTemplate(
        template_pb2.CreateAlertTemplateRequest(template=the_template(id)), timeout=RPC
    )
    await service.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=the_rule(id)), timeout=RPC)


async def everything(service: Replica) -> list[bytes]:
    """All that is stored, and the files."""
    answers = [
        await service.namespaces.ListNamespaces(namespace_pb2.ListNamespacesRequest(show_deleted=True), timeout=RPC),
        await service.groups.ListGroups(group_pb2.ListGroupsRequest(show_deleted=True), timeout=RPC),
        await service.targets.ListTargets(target_pb2.ListTargetsRequest(show_deleted=True), timeout=RPC),
        await service.templates.ListAlertTemplates(
            template_pb2.ListAlertTemplatesRequest(show_deleted=True), timeout=RPC
        ),
        await service.rules.ListAlertRules(rule_pb2.ListAlertRulesRequest(show_deleted=True), timeout=RPC),
        await service.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC),
    ]
    return [answer.SerializeToString(deterministic=True) for answer in answers]


def _peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


async def refusal(call: Any) -> tuple[grpc.StatusCode, RulecastError] | None:
    """The code and the error with which a call is refused; None when it is not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), from_rpc_error(error)
    return None


async def write_everywhere(service: Replica, texts: tuple[str, ...]) -> int:
    count = 0
    for part, method, good in calls():
        for place in places(good.DESCRIPTOR):
            for text in texts:
                request = type(good)()
                request.CopyFrom(good)
                place.put(request, text)
                what = f"{method} with {text[:40]!r} in {place.path}"
                call = getattr(getattr(service, part), method)
                try:
                    answer = await call(request, timeout=RPC)
                except grpc.aio.AioRpcError as error:
                    check_refusal(what, error)
                else:
                    resource, _, _ = place.path.partition(".")
                    if resource in answer.DESCRIPTOR.fields_by_name and place.path not in (f"{resource}.etag", *SAID):
                        assert place.read(answer, text) == text, what
                count += 1
    return count


def check_refusal(what: str, error: grpc.aio.AioRpcError) -> None:
    told = from_rpc_error(error)
    assert error.code() in REFUSALS, f"{what}: {error.code()} {error.details()}"
    assert told.reason != Reason.INTERNAL, f"{what}: {told}"
    for violation in told.violations:
        assert violation.field or "0x00" in violation.message, f"{what}: {told}"
        assert len(violation.message.split()) > 2, f"{what}: {told}"


def test_every_call_that_takes_a_text_is_walked() -> None:
    walked = {method for _, method, _ in (*calls(), *previews())}
    methods = [method for service in PUBLIC for method in service.methods]
    assert {method.name for method in methods if any(places(method.input_type))} <= walked


async def test_the_worst_texts_in_every_field(service: Replica) -> None:
    assert await write_everywhere(service, WORST) > 500


async def test_previews_of_the_worst_texts(service: Replica) -> None:
    """One field of each write: they go the way that the writes go."""
    for part, method, good in previews():
        write = getattr(good, good.WhichOneof("change"))
        for place in list(places(write.DESCRIPTOR))[:2]:
            for text in WORST:
                request = type(good)()
                request.CopyFrom(good)
                place.put(getattr(request, good.WhichOneof("change")), text)
                refused = await refusal(getattr(getattr(service, part), method)(request, timeout=RPC))
                assert refused is None or refused[0] in REFUSALS, (place.path, text, refused)


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_more_texts_in_every_field(service: Replica) -> None:
    assert await write_everywhere(service, MORE) > 2_000


NO_REQUESTS = [
    ("GroupService/GetGroup", b"\n\x02\xff\xfe"),
    ("GroupService/GetGroup", b"\xff\xff\xff"),
    ("AlertRuleService/CreateAlertRule", b"\n\x05\n\x03\xed\xa0\x80"),
    ("DeliveryService/WatchRollout", b"\x08"),
]


async def test_bytes_that_are_no_request_are_refused_as_such(service: Replica) -> None:
    channel: Any = service.channel
    for method, sent in NO_REQUESTS:
        streams = method.endswith("WatchRollout")
        make = channel.unary_stream if streams else channel.unary_unary
        call = make(f"/rulecast.v1.{method}")(sent, timeout=RPC)
        refused = await refusal(call.read() if streams else call)
        assert refused is not None, method
        assert (method, refused[0]) == (method, grpc.StatusCode.INVALID_ARGUMENT)
        assert (refused[1].reason, "can not be read" in str(refused[1])) == (Reason.FIELD_INVALID, True)


async def test_choices_and_times_that_do_not_exist(service: Replica) -> None:
    wrong: dict[str, Any] = {}
    for name, wait_for, seconds in (("wait_for", 99, 0), ("wait_timeout", 2, 2**62), ("wait_timeout", 2, -5)):
        request = group_pb2.CreateGroupRequest(group=group_pb2.Group(id="new"), wait_for=wait_for)  # type: ignore[arg-type]
        request.wait_timeout.seconds = seconds
        wrong.setdefault(name, []).append(service.groups.CreateGroup(request, timeout=RPC))
    for waited in (common_pb2.COMMITTED, 99):
        wait = delivery_pb2.WaitForRolloutRequest(revision=1, wait_for=waited)  # type: ignore[arg-type]
        wrong["wait_for"].append(service.delivery.WaitForRollout(wait, timeout=RPC))
    rule = the_rule("new")
    rule.merge_strategy = 77  # type: ignore[assignment]
    wrong["rule.merge_strategy"] = [
        service.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=RPC)
    ]
    rule = the_rule("new")
    rule.spec.parameters[1].type = -1  # type: ignore[assignment]
    wrong["rule.spec.parameters[1].type"] = [
        service.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=RPC)
    ]
    for field, waiting in wrong.items():
        for call in waiting:
            refused = await refusal(call)
            assert refused is not None, field
            assert (refused[0], refused[1].violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    merge = str((await refusal(service.rules.CreateAlertRule(_strategy(5), timeout=RPC)) or (0, ""))[1])
    assert "MERGE" in merge
    assert "OVERRIDE" in merge


def _strategy(value: int) -> rule_pb2.CreateAlertRuleRequest:
    rule = the_rule("new")
    rule.merge_strategy = value  # type: ignore[assignment]
    return rule_pb2.CreateAlertRuleRequest(rule=rule)


NO_FIELDS = (
    *("config.parameters.threshold.number_value", "config.labels.a.b", "", "..", "spec.parameters.0", "nothing"),
    "x" * 1_000_000,
)


async def test_a_mask_that_names_no_field_is_refused(service: Replica) -> None:
    for path in NO_FIELDS:
        request = rule_pb2.UpdateAlertRuleRequest(rule=the_rule("there"), update_mask=FieldMask(paths=[path]))
        refused = await refusal(service.rules.UpdateAlertRule(request, timeout=RPC))
        assert refused is not None, path[:80]
        assert (refused[0], refused[1].violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "update_mask")
        assert len(str(refused[1])) < 500


async def test_a_group_named_twice_is_said_to_be(service: Replica) -> None:
    target = target_pb2.Target(id="new", hostname="h", group_ids=["there", "there"])
    refused = await refusal(service.targets.CreateTarget(target_pb2.CreateTargetRequest(target=target), timeout=RPC))
    assert refused is not None
    assert (refused[0], refused[1].violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "target.group_ids")
    assert "twice" in str(refused[1])


async def test_a_page_token_of_a_forger_is_refused(service: Replica) -> None:
    for token in ("YQA", "zzz", "YQ==\n", "../", "a" * 5000):
        refused = await refusal(service.rules.ListAlertRules(rule_pb2.ListAlertRulesRequest(page_token=token)))
        assert refused is not None, token
        assert (refused[1].reason, refused[1].violations[0].field) == (Reason.PAGE_TOKEN_INVALID, "page_token")


RULES = "/api/v1/alert-rules"
JSON = {"Content-Type": "application/json"}
BODIES: list[tuple[str, str, bytes | str, str]] = [
    ("POST", RULES, '{"\\ud800": 1}', ""),
    ("POST", RULES, '{"rule": {"key": "\\ud83d"}}', "rule.key"),
    (
        "POST",
        RULES,
        '{"rule": {"template_id": "there", "scope": {"global": {}}, "config": {"parameters": {"threshold": '
        + "1" * 400
        + "}}}}",
        "rule.config.parameters[threshold]",
    ),
    ("POST", RULES, '{"rule": {"config": {"labels": {"a": 5}}}}', "rule.config.labels[a]"),
    ("POST", RULES, '{"rule": {"priority": 2147483648}}', "rule.priority"),
    ("POST", RULES, '{"rule": {"spec": {"parameters": [{"name": 5}]}}}', "rule.spec.parameters[0].name"),
    ("POST", RULES, '{"rule": {"scope": {"global": {}, "group_id": "x"}}}', "rule.scope"),
    ("POST", RULES, '{"rule": {"config": ' + '{"a":' * 900 + "1" + "}" * 902, "rule.config.a"),
    ("POST", RULES, '{"rule":\n  {"key": tru}}', ""),
    ("POST", "/api/v1/groups", '{"wait_for": 99}', "wait_for"),
    ("POST", "/api/v1/groups", '{"wait_timeout": "1e99s"}', "wait_timeout"),
    ("PATCH", "/api/v1/groups/there", '{"update_mask": "\\ud800"}', "update_mask"),
    ("PATCH", "/api/v1/groups/there", '{"update_mask": 5}', "update_mask"),
    ("PATCH", "/api/v1/groups/there", '{"group": {"id": "b"}}', "group.id"),
    ("DELETE", "/api/v1/groups/there?force=perhaps", "", "force"),
    ("GET", "/api/v1/groups?page_size=x", "", "page_size"),
    ("GET", "/api/v1/groups?nothing=1", "", "nothing"),
    ("GET", RULES + "?scope=1", "", "scope"),
    ("GET", RULES + "?scope=1&scope.group_id=2", "", "scope"),
    ("GET", RULES + "?scope.group_id=2&scope=1", "", "scope"),
    ("GET", RULES + "?key=a&key=b", "", "key"),
    ("GET", "/api/v1/prometheus/rules/effective/there?series.labels.key=1", "", "series.labels.key"),
    ("GET", "/api/v1/rollouts/99999999999999999999", "", "revision"),
]


async def test_http_names_the_field_or_the_position_of_what_is_wrong(service: Replica) -> None:
    async with aiohttp.ClientSession(headers=JSON) as http:
        for verb, path, body, field in BODIES:
            what = f"{verb} {path} {body[:60]!r}"
            data = io.BytesIO(body if isinstance(body, bytes) else body.encode())
            async with http.request(verb, URL(service.url + path, encoded=True), data=data) as answer:
                error = (await answer.json())["error"]
            assert (what, answer.status) == (what, 400)
            found = [each["field"] for detail in error["details"] for each in detail.get("field_violations", ())]
            assert (what, found) == (what, [field] if field else [])


async def test_broken_json_is_told_where(service: Replica) -> None:
    async with (
        aiohttp.ClientSession(headers=JSON) as http,
        http.post(service.url + RULES, data=b'{"rule":\n  {"key": tru}}') as answer,
    ):
        (info, *_) = (await answer.json())["error"]["details"]
    assert info["metadata"] == {"line": "2", "column": "11"}


@pytest.mark.parametrize("levels", [150, pytest.param(1_000, marks=pytest.mark.prove)])
async def test_a_deep_tree(tmp_path: Path, database: str, promtool: Path, levels: int) -> None:
    """Every group lies below the one before. A rule at the top holds them all, a cycle of them all is refused."""
    one = replica(tmp_path, database, promtool)
    try:
        await one.start()
        for level in range(levels):
            group = group_pb2.Group(id=f"g{level}", parent_id=f"g{level - 1}" if level else "")
            await one.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group), timeout=RPC)
        cycle = group_pb2.UpdateGroupRequest(group=group_pb2.Group(id="g0", parent_id=f"g{levels - 1}"))
        refused = await refusal(one.groups.UpdateGroup(cycle, timeout=RPC))
        assert refused is not None
        assert refused[1].reason == Reason.GROUP_CYCLE
        assert len(str(refused[1])) < 300
        rule = cpu_rule("top", group_scope("g0"), 80)
        await one.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=RPC)
        deepest = rule_pb2.LabelSet(labels={"group_id": f"g{levels - 1}"})
        answer = await one.rules.GetEffectiveRules(rule_pb2.GetEffectiveRulesRequest(series=deepest), timeout=RPC)
        assert [each.rule_id for each in answer.rules] == ["top"]
    finally:
        await one.child.stop()
        await one.channel.close()
