"""The demo's calls, against a rule service that remembers them."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from deploy.local import story
from deploy.local.demo import HOSTS, KEY, Demo, DemoFailed, demo_rules
from rulecast.process.addresses import HostPort
from rulecast.v1 import common_pb2, delivery_pb2, group_pb2, rule_pb2, target_pb2, template_pb2
from rulecast.v1.delivery_pb2_grpc import DeliveryServiceServicer, add_DeliveryServiceServicer_to_server
from rulecast.v1.group_pb2_grpc import GroupServiceServicer, add_GroupServiceServicer_to_server
from rulecast.v1.rule_pb2_grpc import AlertRuleServiceServicer, add_AlertRuleServiceServicer_to_server
from rulecast.v1.target_pb2_grpc import TargetServiceServicer, add_TargetServiceServicer_to_server
from rulecast.v1.template_pb2_grpc import AlertTemplateServiceServicer, add_AlertTemplateServiceServicer_to_server
from tests.support.ports import free_port

ALL_HOSTS = [host for hosts in HOSTS.values() for host in hosts]


class Remembering(
    AlertTemplateServiceServicer,
    GroupServiceServicer,
    TargetServiceServicer,
    AlertRuleServiceServicer,
    DeliveryServiceServicer,
):
    """Takes what it does not have yet. refusing: what every creation of a group is answered with instead."""

    def __init__(self) -> None:
        self.created: dict[str, Any] = {}
        self.moved: list[target_pb2.UpdateTargetRequest] = []
        self.library = ["high-cpu", "high-memory"]
        self.state: common_pb2.Rollout.State.ValueType = common_pb2.Rollout.ACTIVE
        self.looks_until_connected = 2
        self.refusing: grpc.StatusCode | None = None

    async def _create(self, resource: Any, context: Any) -> None:
        kind = f"{resource.DESCRIPTOR.name} {resource.id}"
        if kind in self.created:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, kind)
        self.created[kind] = resource

    async def LoadLibrary(self, request: Any, context: Any) -> Any:  # noqa: N802
        created, self.library = self.library, []
        return template_pb2.LoadLibraryResponse(created_ids=created, existing_ids=[] if created else ["a", "b"])

    async def CreateGroup(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.refusing is not None:
            await context.abort(self.refusing, "no")
        await self._create(request.group, context)
        return group_pb2.CreateGroupResponse(group=request.group)

    async def CreateTarget(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._create(request.target, context)
        return target_pb2.CreateTargetResponse(target=request.target)

    async def UpdateTarget(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.moved.append(request)
        return target_pb2.UpdateTargetResponse(target=request.target)

    async def CreateAlertRule(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._create(request.rule, context)
        return rule_pb2.CreateAlertRuleResponse(rule=request.rule)

    async def GetEffectiveRules(self, request: Any, context: Any) -> Any:  # noqa: N802
        assert request.key == KEY
        answer = rule_pb2.GetEffectiveRulesResponse()
        if request.target_id == "web-1":
            rule = answer.rules.add(rule_id="mine", enabled=True)
            rule.config.parameters["threshold"].number_value = 80
        return answer

    async def ListDeployers(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.looks_until_connected -= 1
        known = [delivery_pb2.Deployer(id="demo", connected=self.looks_until_connected <= 0)]
        return delivery_pb2.ListDeployersResponse(deployers=known, revision=14)

    async def WaitForRollout(self, request: Any, context: Any) -> Any:  # noqa: N802
        return common_pb2.Rollout(revision=request.revision, state=self.state)

    async def ListRuleFiles(self, request: Any, context: Any) -> Any:  # noqa: N802
        return delivery_pb2.ListRuleFilesResponse(files=[delivery_pb2.RuleFile(rule_count=count) for count in (2, 1)])


@pytest.fixture
def remembering() -> Remembering:
    return Remembering()  # type: ignore[abstract]  # the other RPCs answer UNIMPLEMENTED


@pytest_asyncio.fixture
async def demo(remembering: Remembering) -> AsyncIterator[Demo]:
    server = grpc.aio.server()
    for register in (
        add_AlertTemplateServiceServicer_to_server,
        add_GroupServiceServicer_to_server,
        add_TargetServiceServicer_to_server,
        add_AlertRuleServiceServicer_to_server,
        add_DeliveryServiceServicer_to_server,
    ):
        register(remembering, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Demo(channel)
    await server.stop(None)


async def test_the_first_time_everything_is_made(demo: Demo, remembering: Remembering) -> None:
    assert await demo.load_library() == "2 alert templates loaded"
    assert await demo.create_groups() == "3 groups: the label group_id tells them apart"
    assert await demo.create_targets(HostPort("127.0.0.1", 9100)) == "6 hosts: all of them at 90 % CPU"
    assert await demo.create_rules() == "4 rules of the alert HighCPU: 80 % production, 95 % development, off lab"
    assert [kind for kind in remembering.created if kind.startswith("Target")] == [f"Target {h}" for h in ALL_HOSTS]
    web = remembering.created["Target web-1"]
    assert (web.group_ids, web.exporters[0].port, web.exporters[0].path) == (
        ["production"],
        9100,
        "/hosts/web-1/metrics",
    )


async def test_the_second_time_all_is_kept_but_hosts_are_where_the_exporter_is(
    demo: Demo, remembering: Remembering
) -> None:
    for _ in range(2):
        words = [await step for step in (demo.load_library(), demo.create_groups(), demo.create_rules())]
    await demo.create_targets(HostPort("127.0.0.1", 9100))
    assert remembering.moved == []
    assert await demo.create_targets(HostPort("exporter", 9101)) == "6 hosts are there already, and were kept"
    assert words == [
        "2 alert templates are there already",
        "3 groups are there already, and were kept",
        "4 rules of the alert HighCPU are there already, and were kept",
    ]
    assert [each.target.exporters[0].port for each in remembering.moved] == 6 * [9101]
    assert {path for each in remembering.moved for path in each.update_mask.paths} == {"address", "exporters"}
    assert {each.target.address for each in remembering.moved} == {"exporter"}


async def test_what_somebody_deleted_is_made_again_and_said(demo: Demo, remembering: Remembering) -> None:
    await demo.create_groups()
    del remembering.created["Group lab"]
    assert await demo.create_groups() == "1 of 3 groups were missing"


async def test_any_other_refusal_is_an_error(demo: Demo, remembering: Remembering) -> None:
    remembering.refusing = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await demo.create_groups()


async def test_it_waits_until_the_deployer_is_connected(demo: Demo, remembering: Remembering) -> None:
    assert await demo.wait_for_deployer("demo") == "deployer demo is connected to the rule service"
    assert remembering.looks_until_connected == 0


async def test_a_deployer_that_never_connects_is_told(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.demo._CONNECT", 0.2)
    with pytest.raises(DemoFailed, match=r"the deployer other did not connect to the rule service in 0\.2 s"):
        await demo.wait_for_deployer("other")


async def test_it_goes_on_only_when_the_newest_revision_runs(demo: Demo, remembering: Remembering) -> None:
    words = "revision 14 is ACTIVE: Prometheus runs 3 rules in 2 files"
    assert await demo.wait_until_active() == words
    remembering.state = common_pb2.Rollout.ROLLED_BACK
    with pytest.raises(DemoFailed, match="revision 14 is ROLLED_BACK"):
        await demo.wait_until_active()


async def test_every_host_is_asked_about_and_may_have_no_rule(demo: Demo) -> None:
    applied = await demo.applied()
    assert [each.host for each in applied] == ALL_HOSTS
    assert (applied[0].rule_id, applied[0].enabled, applied[0].threshold) == ("mine", True, 80)
    assert (applied[1].rule_id, applied[1].enabled) == ("", False)


def test_the_alert_has_another_setting_at_each_scope() -> None:
    settings = {
        rule.scope.group_id or rule.scope.WhichOneof("level"): (
            rule.config.parameters["threshold"].number_value or None
            if rule.WhichOneof("_enabled") is None or rule.enabled
            else "off"
        )
        for rule in demo_rules()
    }
    assert settings == {"global": 85, "production": 80, "development": 95, "lab": "off"}


def test_a_rule_service_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    given = ["--rule-service", address, "--deployer", "demo", "--exporter", "exporter:9100", "--prometheus", "http://x"]
    monkeypatch.setattr(sys, "argv", ["story", *given])
    assert story.main() == 1
    assert "demo: the rule service answered UNAVAILABLE" in capsys.readouterr().err
