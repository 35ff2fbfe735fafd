"""From one RPC to a rule running in Prometheus: both services as processes, a real Prometheus, a real promtool."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from deploy.local.parts import PrometheusParts
from rulecast.errors import AlreadyExists, InvalidInput, NotFound
from rulecast.reasons import Reason
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import common_pb2, delivery_pb2, deployer_pb2, group_pb2, rule_pb2, target_pb2, template_pb2
from tests.support.system import RPC, System, cpu_rule, global_scope, group_scope, running_system


@pytest_asyncio.fixture
async def system(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[System]:
    """One rule service and one deployer, and the groups production, development and lab."""
    async with running_system(tmp_path, database, prometheus_parts) as running:
        for id in ("production", "development", "lab"):
            request = group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id))
            await running.first.groups.CreateGroup(request, timeout=RPC)
        yield running


async def create(system: System, rule: rule_pb2.AlertRule) -> rule_pb2.CreateAlertRuleResponse:
    """Waits until the rule's fate is known."""
    request = rule_pb2.CreateAlertRuleRequest(rule=rule, wait_for=common_pb2.ACTIVE)
    answer: rule_pb2.CreateAlertRuleResponse = await system.first.rules.CreateAlertRule(request, timeout=RPC)
    return answer


async def change_threshold(system: System, id: str, threshold: float) -> rule_pb2.UpdateAlertRuleResponse:
    request = rule_pb2.UpdateAlertRuleRequest(
        rule=rule_pb2.AlertRule(id=id),
        update_mask=FieldMask(paths=["config.parameters.threshold"]),
        wait_for=common_pb2.ACTIVE,
    )
    request.rule.config.parameters["threshold"].number_value = threshold
    answer: rule_pb2.UpdateAlertRuleResponse = await system.first.rules.UpdateAlertRule(request, timeout=RPC)
    return answer


async def test_a_rule_and_its_overrides_run_in_prometheus_when_the_call_says_active(system: System) -> None:
    await create(system, cpu_rule("everywhere", global_scope(), 90))
    await create(system, cpu_rule("prod", group_scope("production"), 80))
    await create(system, cpu_rule("off", group_scope("lab"), 90, enabled=False))
    last = await create(system, cpu_rule("dev", group_scope("development"), 95))
    assert last.change.rollout.state == common_pb2.Rollout.ACTIVE
    assert await system.deployers[0].running_exprs() == {
        "everywhere": 'cpu_percent{group_id!~"development|lab|production"} > 90',
        "prod": 'cpu_percent{group_id="production"} > 80',
        "dev": 'cpu_percent{group_id="development"} > 95',
    }

    changed = await change_threshold(system, "dev", 85)
    assert [file.file_name for file in changed.change.files] == ["group-development.yml"]
    assert changed.change.rollout.state == common_pb2.Rollout.ACTIVE
    running = await system.deployers[0].running_exprs()
    assert running["dev"] == 'cpu_percent{group_id="development"} > 85'


async def test_the_files_on_disk_are_those_of_the_database_and_go_when_the_rules_go(system: System) -> None:
    await create(system, cpu_rule("everywhere", global_scope(), 90))
    await create(system, cpu_rule("prod", group_scope("production"), 80))
    listed = await system.first.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
    contents = {}
    for file in listed.files:
        request = delivery_pb2.GetRuleFileRequest(file_name=file.file_name)
        contents[file.file_name] = (await system.first.delivery.GetRuleFile(request, timeout=RPC)).content.encode()
    assert system.deployers[0].files() == contents
    deletion = rule_pb2.DeleteAlertRuleRequest(id="prod", wait_for=common_pb2.ACTIVE)
    await system.first.rules.DeleteAlertRule(deletion, timeout=RPC)
    assert set(system.deployers[0].files()) == {"global.yml"}
    assert set(await system.deployers[0].running_exprs()) == {"everywhere"}


async def test_bad_input_is_refused_by_field_and_changes_nothing(system: System) -> None:
    await create(system, cpu_rule("everywhere", global_scope(), 90))
    before = system.deployers[0].files()

    bad_query = cpu_rule("bad", group_scope("production"), 80)
    bad_query.spec.query = "cpu_percent > > {{ .threshold }}"
    unknown = cpu_rule("bad", group_scope("production"), 80)
    unknown.spec.query = "cpu_percent > {{ .treshold }}"
    wrong_type = cpu_rule("bad", group_scope("production"), 80)
    wrong_type.config.parameters["threshold"].string_value = "eighty"
    no_group = cpu_rule("bad", group_scope("nowhere"), 80)
    duration = cpu_rule("bad", group_scope("production"), 80)
    duration.config.for_duration = "5 minutes"
    twice = cpu_rule("bad", global_scope(), 80)
    for rule, error, reason, field in (
        (bad_query, InvalidInput, Reason.QUERY_INVALID, "rule.spec.query"),
        (unknown, InvalidInput, Reason.PARAMETER_UNKNOWN, "rule.spec.query"),
        (wrong_type, InvalidInput, Reason.PARAMETER_TYPE, "rule.config.parameters[threshold]"),
        (no_group, NotFound, Reason.GROUP_NOT_FOUND, "rule.scope.group_id"),
        (duration, InvalidInput, Reason.DURATION_INVALID, "rule.config.for_duration"),
        (twice, AlreadyExists, Reason.KEY_TAKEN, "rule.key"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(system, rule)
        told = from_rpc_error(refused.value)
        assert (type(told), told.reason, told.violations[0].field) == (error, reason, field)
    assert system.deployers[0].files() == before


async def test_reflection_and_health_are_on_for_both_services(system: System) -> None:
    for channel, expected in (
        (system.first.channel, "rulecast.v1.AlertRuleService"),
        (system.deployers[0].channel, "rulecast.v1.DeployerService"),
    ):
        stub: Any = ServerReflectionStub
        call = stub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]), timeout=RPC)
        answers = [answer async for answer in call]
        names = {service.name for service in answers[0].list_services_response.service}
        assert names >= {expected, "grpc.health.v1.Health"}


async def test_the_same_over_http(system: System) -> None:
    async with aiohttp.ClientSession(base_url=system.first.url) as http:
        body = {
            "rule": {
                "id": "everywhere",
                "key": "cpu",
                "scope": {"global": {}},
                "spec": {
                    "alert_name": "HighCPU",
                    "severity": "warning",
                    "query": "cpu_percent > {{ .threshold }}",
                    "parameters": [{"name": "threshold", "type": "NUMBER"}],
                },
                "config": {"parameters": {"threshold": 90}},
            },
            "wait_for": "ACTIVE",
        }
        async with http.post("/api/v1/alert-rules", json=body) as answer:
            assert answer.status == 200
            created = await answer.json()
        assert created["rule"]["rendered"]["expr"] == "cpu_percent > 90"
        assert created["change"]["rollout"]["state"] == "ACTIVE"
        async with http.patch(
            "/api/v1/alert-rules/everywhere",
            json={"rule": {"config": {"parameters": {"threshold": 85}}}, "wait_for": "ACTIVE"},
        ) as answer:
            assert (answer.status, (await answer.json())["change"]["rollout"]["state"]) == (200, "ACTIVE")
        assert (await system.deployers[0].running_exprs())["everywhere"] == "cpu_percent > 85"
        async with http.get("/api/v1/prometheus/rules/files") as answer:
            files = await answer.json()
        assert [(file["file_name"], file["rule_count"]) for file in files] == [("global.yml", 1)]
        async with http.post("/api/v1/prometheus/rules/regenerate", json={}) as answer:
            regenerated = await answer.json()
        assert regenerated.keys() >= {"groups_affected", "files_generated", "errors", "duration"}
        async with http.get("/api/v1/alert-rules/nothing") as answer:
            error = (await answer.json())["error"]
        assert (answer.status, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
        async with http.put("/api/v1/alert-rules", data="{}") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (405, 405)
        async with http.get("/metrics") as answer:
            assert "grpc_server_handled_total" in await answer.text()
        async with http.get("/health/ready") as answer:
            assert answer.status == 200


async def test_effective_rules_and_why(system: System) -> None:
    request = target_pb2.CreateTargetRequest(
        target=target_pb2.Target(id="db-1", hostname="db-1", group_ids=["production"])
    )
    await system.first.targets.CreateTarget(request, timeout=RPC)
    await create(system, cpu_rule("everywhere", global_scope(), 90))
    await create(system, cpu_rule("prod", group_scope("production"), 80))
    effective = await system.first.rules.GetEffectiveRules(
        rule_pb2.GetEffectiveRulesRequest(target_id="db-1"), timeout=RPC
    )
    (rule,) = effective.rules
    assert (rule.rule_id, rule.source, rule.source_id, rule.name) == ("prod", "group", "production", "HighCPU")
    assert rule.query == (await system.deployers[0].running_exprs())["prod"]
    why = await system.first.rules.ExplainRule(rule_pb2.ExplainRuleRequest(target_id="db-1", key="cpu"), timeout=RPC)
    assert [(each.rule_id, each.outcome) for each in why.candidates] == [
        ("prod", rule_pb2.Candidate.WON),
        ("everywhere", rule_pb2.Candidate.LOST),
    ]
    (threshold,) = [each for each in why.trace if each.path == "parameters.threshold"]
    assert (threshold.value.number_value, threshold.rule_id) == (80, "prod")
    assert [(each.value.number_value, each.rule_id) for each in threshold.replaced] == [(90, "everywhere")]
    assert why.rendered.file_name == "group-production.yml"


async def test_a_template_of_the_library_becomes_a_running_rule(system: System) -> None:
    await system.first.templates.LoadLibrary(template_pb2.LoadLibraryRequest(ids=["high-cpu"]), timeout=RPC)
    rule = rule_pb2.AlertRule(id="cpu", template_id="high-cpu", scope=group_scope("production"))
    rule.config.parameters["threshold"].number_value = 75
    answer = await create(system, rule)
    assert answer.change.rollout.state == common_pb2.Rollout.ACTIVE
    assert answer.rule.key == "high-cpu"
    assert "> 75" in (await system.deployers[0].running_exprs())["cpu"]


async def test_the_deployer_shows_its_state(system: System) -> None:
    last = await create(system, cpu_rule("everywhere", global_scope(), 90))
    status = await system.deployers[0].service.GetStatus(deployer_pb2.GetStatusRequest(), timeout=RPC)
    assert (status.deployer_id, status.connected, status.file_count) == ("deployer-0", True, 1)
    assert status.revision == last.change.revision
    assert status.prometheus_up
    (file,) = (await system.deployers[0].service.ListFiles(deployer_pb2.ListFilesRequest(), timeout=RPC)).files
    assert (file.file_name, file.rule_count, file.state) == ("global.yml", 1, common_pb2.Rollout.ACTIVE)


async def test_an_edit_made_while_the_deployer_is_away_arrives_when_it_is_back(system: System) -> None:
    deployer = system.deployers[0]
    await create(system, cpu_rule("everywhere", global_scope(), 90))
    assert await deployer.child.stop() == 0
    answer = await change_threshold(system, "everywhere", 70)
    assert answer.change.rollout.state == common_pb2.Rollout.UNREACHABLE
    await deployer.start()
    await system.settled()
    assert await deployer.running_exprs() == {"everywhere": "cpu_percent > 70"}
    rollout = await system.first.delivery.WaitForRollout(
        delivery_pb2.WaitForRolloutRequest(revision=answer.change.revision), timeout=RPC
    )
    assert rollout.state == common_pb2.Rollout.ACTIVE


async def test_both_services_end_in_order_when_told(system: System) -> None:
    await create(system, cpu_rule("everywhere", global_scope(), 90))
    assert await system.first.child.stop() == 0
    assert await system.deployers[0].child.stop() == 0
    assert set(await system.deployers[0].running_exprs()) == {"everywhere"}
