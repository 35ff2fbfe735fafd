"""Resources over HTTP and gRPC: deleted, brought back, gone for good; switched, heard of, and contended for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from grpc_status import rpc_status

from deploy.local.parts import PrometheusParts
from rulecast.errors import Conflict
from rulecast.reasons import Reason
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import common_pb2, group_pb2, history_pb2, namespace_pb2, rule_pb2, target_pb2, template_pb2
from tests.support.system import RPC, Replica, cpu_rule, global_scope, replica

CPU = {"alert_name": "HighCPU", "severity": "warning", "query": "cpu_percent > 90"}
RULE = {"key": "cpu", "scope": {"global": {}}, "spec": CPU}
# path, field, body without the id, how a second one differs
KINDS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "namespace": ("namespaces", "namespace", {"label": "team"}, {"label": "crew"}),
    "group": ("groups", "group", {"label_value": "production"}, {"label_value": "dev"}),
    "target": ("targets", "target", {"hostname": "web.example.com", "address": "[::1]:22"}, {}),
    "template": ("alert-templates", "template", {"spec": CPU}, {}),
    "rule": ("alert-rules", "rule", RULE, {"key": "other"}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Replica]:
    one = replica(tmp_path, database, prometheus_parts.promtool)
    try:
        await one.start()
        yield one
    finally:
        await one.child.stop()
        await one.channel.close()


@pytest_asyncio.fixture
async def http(service: Replica) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.url) as session:
        yield session


async def call(http: aiohttp.ClientSession, verb: str, path: str, body: Any = None, status: int = 200) -> Any:
    async with http.request(verb, f"/api/v1/{path}", json=body) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found


def reason(answer: Any) -> str:
    found: str = answer["error"]["details"][0]["reason"]
    return found


@each_kind
async def test_it_is_deleted_brought_back_and_gone_for_good(http: aiohttp.ClientSession, kind: str) -> None:
    path, field, body, other = KINDS[kind]
    created = (await call(http, "POST", path, {field: {"id": "one", **body}}))[field]
    second = (await call(http, "POST", path, {field: {"id": "two", **body, **other}}))[field]
    deleted = await call(http, "DELETE", f"{path}/one?etag={created['etag']}")
    assert deleted["change"]["revision"] == str(int(second["metadata"]["revision"]) + 1)
    assert deleted[field]["metadata"]["delete_time"]

    shown = await call(http, "GET", f"{path}/one")
    assert shown == deleted[field]
    plural = path.removeprefix("alert-")
    assert "one" not in [each["id"] for each in (await call(http, "GET", path))[plural]]
    assert shown in (await call(http, "GET", f"{path}?show_deleted=true&text=ONE"))[plural]
    both = await call(http, "GET", f"{path}:batchGet?ids=two&ids=one")
    assert [(each["id"], "delete_time" in each["metadata"]) for each in both[plural]] == [("two", False), ("one", True)]
    missing = await call(http, "GET", f"{path}:batchGet?ids=two&ids=nothing", status=404)
    assert missing["error"]["details"][-1]["field_violations"][0]["field"] == "ids[1]"
    await call(http, "GET", f"{path}:batchGet", status=400)

    taken = await call(http, "POST", path, {field: {"id": "one", **body}}, status=409)
    assert reason(taken) == "ID_TAKEN"
    assert "undelete it, or purge it first" in taken["error"]["message"]

    tried = await call(http, "POST", f"{path}/one:undelete", {"validate_only": True})
    assert (tried[field]["id"], tried["change"]["revision"]) == ("one", "0")
    back = await call(http, "POST", f"{path}/one:undelete", {"etag": shown["etag"], "reason": "by mistake"})
    assert {**back[field], "etag": "", "metadata": {}} == {**created, "etag": "", "metadata": {}}
    assert back[field]["metadata"]["create_time"] == created["metadata"]["create_time"]
    assert (await call(http, "GET", f"revisions/{back['change']['revision']}"))["reason"] == "by mistake"
    not_deleted = f"{kind.upper()}_NOT_DELETED"
    assert reason(await call(http, "POST", f"{path}/one:undelete", {}, status=409)) == not_deleted
    assert reason(await call(http, "POST", f"{path}/one:purge", {}, status=400)) == not_deleted

    await call(http, "DELETE", f"{path}/one")
    purged = await call(http, "POST", f"{path}/one:purge", {})
    await call(http, "GET", f"{path}/one", status=404)
    revision = await call(http, "GET", f"revisions/{purged['change']['revision']}")
    assert [(each["id"], each["action"]) for each in revision["resources"]] == [("one", "PURGED")]
    await call(http, "POST", path, {field: {"id": "one", **body}})


@each_kind
async def test_whoever_was_slower_gets_the_current_state(http: aiohttp.ClientSession, kind: str) -> None:
    path, field, body, _ = KINDS[kind]
    old = (await call(http, "POST", path, {field: {"id": "one", **body}}))[field]
    name = "hostname" if kind == "target" else "description"
    now = (await call(http, "PATCH", f"{path}/one", {field: {name: "other"}}))[field]

    async def refused(verb: str, place: str, body: Any = None) -> Any:
        answer = await call(http, verb, f"{path}/{place}", body, status=409)
        assert (answer["error"]["status"], reason(answer)) == ("ABORTED", "ETAG_MISMATCH")
        (found,) = [each for each in answer["error"]["details"] if each["@type"].endswith("/rulecast.v1.Resource")]
        return found[field]

    for current in (
        await refused("PATCH", "one", {field: {name: "mine", "etag": old["etag"]}}),
        await refused("DELETE", f"one?etag={old['etag']}"),
    ):
        assert (current["id"], current[name], current["etag"]) == ("one", "other", now["etag"])
        assert current["metadata"]["revision"] == now["metadata"]["revision"]
    deleted = (await call(http, "DELETE", f"{path}/one?etag={now['etag']}"))[field]
    for verb in ("undelete", "purge"):
        current = await refused("POST", f"one:{verb}", {"etag": now["etag"]})
        assert (current["etag"], current["metadata"]) == (deleted["etag"], deleted["metadata"])


async def test_the_current_state_over_grpc_unless_it_is_too_large(service: Replica) -> None:
    group = group_pb2.Group(id="one", description="mine")
    old = (await service.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group), timeout=RPC)).group
    for description, details in (("theirs", 1), ("x" * 2_000, 1), ("\u20ac" * 2_000, 0)):
        change = group_pb2.Group(id="one", description=description)
        now = (await service.groups.UpdateGroup(group_pb2.UpdateGroupRequest(group=change), timeout=RPC)).group
        late = group_pb2.UpdateGroupRequest(group=group_pb2.Group(id="one", label_value="x", etag=old.etag))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.groups.UpdateGroup(late, timeout=RPC)
        told = from_rpc_error(refused.value)
        assert (type(told), told.reason, told.metadata["current_etag"]) == (Conflict, Reason.ETAG_MISMATCH, now.etag)
        found = []
        for packed in rpc_status.from_call(refused.value).details:  # type: ignore[arg-type]
            resource = history_pb2.Resource()
            if packed.Unpack(resource):
                found.append(resource.group)
        assert found == [now][:details]


async def test_a_rule_is_switched_off_and_on(service: Replica) -> None:
    rules = service.rules
    made = await rules.CreateAlertRule(
        rule_pb2.CreateAlertRuleRequest(rule=cpu_rule("cpu", global_scope(), 90)), timeout=RPC
    )
    tried = await rules.DisableAlertRule(rule_pb2.DisableAlertRuleRequest(id="cpu", validate_only=True), timeout=RPC)
    assert (tried.rule.enabled, tried.change.revision) == (False, 0)
    assert [each.kind for each in tried.change.files] == [common_pb2.FileChange.DELETED]
    off = await rules.DisableAlertRule(
        rule_pb2.DisableAlertRuleRequest(id="cpu", etag=made.rule.etag, wait_for=common_pb2.ACTIVE, reason="noisy"),
        timeout=RPC,
    )
    assert (off.rule.enabled, off.change.revision) == (False, made.change.revision + 1)
    assert off.change.rollout.revision == off.change.revision
    assert not off.rule.HasField("rendered")
    again = await rules.DisableAlertRule(rule_pb2.DisableAlertRuleRequest(id="cpu"), timeout=RPC)
    assert (again.rule.etag, again.change.revision, list(again.change.files)) == (off.rule.etag, 0, [])
    with pytest.raises(grpc.aio.AioRpcError) as stale:
        await rules.EnableAlertRule(rule_pb2.EnableAlertRuleRequest(id="cpu", etag=made.rule.etag), timeout=RPC)
    assert (stale.value.code(), from_rpc_error(stale.value).violations[0].field) == (grpc.StatusCode.ABORTED, "etag")
    on = await rules.EnableAlertRule(rule_pb2.EnableAlertRuleRequest(id="cpu", etag=off.rule.etag), timeout=RPC)
    assert (on.rule.enabled, on.change.revision) == (True, off.change.revision + 1)
    assert on.rule.rendered.file_name == "global.yml"
    again = await rules.EnableAlertRule(rule_pb2.EnableAlertRuleRequest(id="cpu"), timeout=RPC)
    assert (again.rule.rendered, again.change.revision) == (on.rule.rendered, 0)
    await rules.DeleteAlertRule(rule_pb2.DeleteAlertRuleRequest(id="cpu"), timeout=RPC)
    for method, request in (
        (rules.EnableAlertRule, rule_pb2.EnableAlertRuleRequest(id="cpu")),
        (rules.DisableAlertRule, rule_pb2.DisableAlertRuleRequest(id="nothing")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await method(request, timeout=RPC)
        assert from_rpc_error(missing.value).reason is Reason.RULE_NOT_FOUND


async def test_a_rule_is_switched_over_http(http: aiohttp.ClientSession) -> None:
    await call(http, "POST", "alert-rules", {"rule": {"id": "cpu", **RULE}})
    off = await call(http, "POST", "alert-rules/cpu:disable", {})
    assert [each["kind"] for each in off["change"]["files"]] == ["DELETED"]
    assert [each["id"] for each in (await call(http, "GET", "alert-rules?enabled=false"))["rules"]] == ["cpu"]
    on = await call(http, "POST", "alert-rules/cpu:enable", {})
    assert (on["rule"]["enabled"], on["change"]["files"][0]["kind"]) == (True, "ADDED")


async def test_targets_are_heard_of(http: aiohttp.ClientSession) -> None:
    for id in ("web", "db"):
        target = {"id": id, "hostname": id, "exporters": [{"name": "node", "port": 9100}]}
        made = await call(http, "POST", "targets", {"target": target})
        assert made["target"]["status"] == "UNKNOWN"
        assert "last_seen_time" not in made["target"]
    beats = [{"target_id": "web"}, {"target_id": "db", "status": "MAINTENANCE"}, {"target_id": "zzz", "status": "UP"}]
    assert await call(http, "POST", "targets:heartbeat", {"heartbeats": beats}) == {"unknown_ids": ["zzz"]}
    web = await call(http, "GET", "targets/web")
    assert (web["status"], web["etag"]) == ("UP", "r1")
    assert web["last_seen_time"] > web["metadata"]["create_time"]
    listed = await call(http, "GET", "targets?statuses=MAINTENANCE&statuses=DOWN")
    assert [(each["id"], each["status"]) for each in listed["targets"]] == [("db", "MAINTENANCE")]
    scraped = await call(http, "GET", "sd/prometheus?statuses=UP&statuses=UNKNOWN")
    assert [each["targets"] for each in scraped] == [["web:9100"]]
    updated = await call(http, "PATCH", "targets/db", {"target": {"hostname": "db2", "status": "UP"}})
    assert (updated["target"]["hostname"], updated["target"]["status"]) == ("db2", "MAINTENANCE")
    for body, field in (
        ({}, "heartbeats"),
        ({"heartbeats": [{"target_id": "web", "status": "STALE"}]}, "heartbeats[0].status"),
        ({"heartbeats": [{"target_id": "web"}, {}]}, "heartbeats[1].target_id"),
        ({"heartbeats": [{"target_id": "web", "status": 77}]}, "heartbeats[0].status"),
    ):
        refused = await call(http, "POST", "targets:heartbeat", body, status=400)
        assert refused["error"]["details"][-1]["field_violations"][0]["field"] == field
    for path in ("targets?statuses=77", "sd/prometheus?statuses=STATUS_UNSPECIFIED"):
        refused = await call(http, "GET", path, status=400)
        assert refused["error"]["details"][-1]["field_violations"][0]["field"] == "statuses[0]"


async def test_an_address_that_is_none_is_refused(service: Replica) -> None:
    target = target_pb2.Target(id="web", hostname="web", address="http://10.0.0.1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.targets.CreateTarget(target_pb2.CreateTargetRequest(target=target), timeout=RPC)
    (violation,) = from_rpc_error(refused.value).violations
    assert (violation.field, violation.reason) == ("target.address", Reason.FIELD_INVALID)


async def test_a_deleted_one_over_grpc(service: Replica) -> None:
    """What the generated clients see is what the JSON says."""
    await service.namespaces.CreateNamespace(
        namespace_pb2.CreateNamespaceRequest(namespace=namespace_pb2.Namespace(id="team")), timeout=RPC
    )
    deleted = await service.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(id="team"), timeout=RPC)
    assert deleted.namespace.metadata.HasField("delete_time")
    listed = await service.namespaces.ListNamespaces(
        namespace_pb2.ListNamespacesRequest(show_deleted=True, text="TEAM"), timeout=RPC
    )
    assert list(listed.namespaces) == [deleted.namespace]
    got = await service.namespaces.BatchGetNamespaces(
        namespace_pb2.BatchGetNamespacesRequest(ids=["default", "team"]), timeout=RPC
    )
    assert [each.id for each in got.namespaces] == ["default", "team"]
    back = await service.namespaces.UndeleteNamespace(
        namespace_pb2.UndeleteNamespaceRequest(id="team", etag=deleted.namespace.etag), timeout=RPC
    )
    assert not back.namespace.metadata.HasField("delete_time")
    templates = await service.templates.ListAlertTemplates(
        template_pb2.ListAlertTemplatesRequest(show_deleted=True), timeout=RPC
    )
    assert not templates.templates
