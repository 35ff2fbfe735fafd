"""The demo's story: groups, hosts, one alert with other settings for each group, told over gRPC."""

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from deploy.local.exporter import metrics_path
from rulecast.process.addresses import HostPort
from rulecast.v1 import common_pb2, delivery_pb2, group_pb2, rule_pb2, target_pb2, template_pb2
from rulecast.v1.delivery_pb2_grpc import DeliveryServiceStub
from rulecast.v1.group_pb2_grpc import GroupServiceStub
from rulecast.v1.rule_pb2_grpc import AlertRuleServiceStub
from rulecast.v1.target_pb2_grpc import TargetServiceStub
from rulecast.v1.template_pb2_grpc import AlertTemplateServiceStub

KEY: Final = "high-cpu"
ALERT: Final = "HighCPU"
HOSTS: Final = {
    "production": ("web-1", "web-2", "db-1"),
    "development": ("dev-1", "dev-2"),
    "lab": ("lab-1",),
}
"""The hosts of each group."""
RPC: Final = 60.0
"""Seconds that one call may take."""

_CONNECT: Final = 60.0
"""Seconds that the deployer may take to reach the rule service."""
_POLL: Final = 0.05
_MOVED: Final = FieldMask(paths=["address", "exporters"])


class DemoFailed(Exception):
    """The story can not go on; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The rule that applies to a host, as GetEffectiveRules says. rule_id: empty where there is none.

    threshold: percent.
    """

    group: str
    host: str
    rule_id: str
    enabled: bool
    threshold: float


class Demo:
    """The calls that a person would make. What is there already is kept as it is. Each step answers in words."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._templates = AlertTemplateServiceStub(channel)
        self._groups = GroupServiceStub(channel)
        self._targets = TargetServiceStub(channel)
        self._rules = AlertRuleServiceStub(channel)
        self._delivery = DeliveryServiceStub(channel)

    async def wait_for_deployer(self, id: str) -> str:
        """Raises DemoFailed when it is not connected after a minute."""
        try:
            async with asyncio.timeout(_CONNECT):
                while True:
                    if await self._connected(id):
                        return f"deployer {id} is connected to the rule service"
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DemoFailed(f"the deployer {id} did not connect to the rule service in {_CONNECT:g} s") from None

    async def load_library(self) -> str:
        answer = await self._templates.LoadLibrary(template_pb2.LoadLibraryRequest(), timeout=RPC)
        if not answer.created_ids:
            return f"{len(answer.existing_ids)} alert templates are there already"
        return f"{len(answer.created_ids)} alert templates loaded"

    async def create_groups(self) -> str:
        made = 0
        for id in HOSTS:
            request = group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id))
            made += await _made(self._groups.CreateGroup(request, timeout=RPC))
        return _words(made, len(HOSTS), "groups", "the label group_id tells them apart")

    async def create_targets(self, exporter: HostPort) -> str:
        """exporter: where Prometheus reaches the demo exporter, which plays the hosts now."""
        made = 0
        targets = [_target(host, group, exporter) for group, hosts in HOSTS.items() for host in hosts]
        for target in targets:
            request = target_pb2.CreateTargetRequest(target=target)
            if await _made(self._targets.CreateTarget(request, timeout=RPC)):
                made += 1
            else:
                moved = target_pb2.UpdateTargetRequest(target=target, update_mask=_MOVED)
                await self._targets.UpdateTarget(moved, timeout=RPC)
        return _words(made, len(targets), "hosts", "all of them at 90 % CPU")

    async def create_rules(self) -> str:
        """The global rule and its overrides."""
        made = 0
        rules = list(demo_rules())
        for rule in rules:
            request = rule_pb2.CreateAlertRuleRequest(rule=rule)
            made += await _made(self._rules.CreateAlertRule(request, timeout=RPC))
        return _words(made, len(rules), f"rules of the alert {ALERT}", "80 % production, 95 % development, off lab")

    async def wait_until_active(self) -> str:
        """Raises DemoFailed when the newest revision is not running."""
        request = delivery_pb2.WaitForRolloutRequest(revision=await self.newest_revision())
        rollout = await self._delivery.WaitForRollout(request, timeout=2 * RPC)
        state = common_pb2.Rollout.State.Name(rollout.state)
        if rollout.state != common_pb2.Rollout.ACTIVE:
            raise DemoFailed(f"revision {rollout.revision} is {state}:\n{rollout}")
        files = await self._delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
        rules = sum(file.rule_count for file in files.files)
        return f"revision {rollout.revision} is {state}: Prometheus runs {rules} rules in {len(files.files)} files"

    async def newest_revision(self) -> int:
        known = await self._delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
        return known.revision

    async def applied(self) -> list[Applied]:
        """What applies to each host."""
        return [await self._applied_to(host, group) for group, hosts in HOSTS.items() for host in hosts]

    async def _applied_to(self, host: str, group: str) -> Applied:
        request = rule_pb2.GetEffectiveRulesRequest(target_id=host, key=KEY)
        for rule in (await self._rules.GetEffectiveRules(request, timeout=RPC)).rules:
            threshold = rule.config.parameters["threshold"].number_value
            return Applied(group, host, rule.rule_id, rule.enabled, threshold)
        return Applied(group, host, "", False, 0)

    async def _connected(self, id: str) -> bool:
        known = await self._delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
        return any(each.id == id and each.connected for each in known.deployers)


def demo_rules() -> Iterator[rule_pb2.AlertRule]:
    """The alert at four scopes. It fires 15 s after its expression holds.

    A rate over the first seconds of a series is too low, so an idle host looks busy: for 12 s even above 95 %.
    """
    everywhere = common_pb2.Scope()
    getattr(everywhere, "global").SetInParent()
    rule = _rule("high-cpu", everywhere, threshold=85)
    rule.config.for_duration = "15s"
    rule.config.parameters["window"].string_value = "30s"
    yield rule
    yield _rule("high-cpu-production", common_pb2.Scope(group_id="production"), threshold=80)
    yield _rule("high-cpu-development", common_pb2.Scope(group_id="development"), threshold=95)
    yield rule_pb2.AlertRule(id="high-cpu-lab", template_id=KEY, scope=common_pb2.Scope(group_id="lab"), enabled=False)


def _rule(id: str, scope: common_pb2.Scope, threshold: float) -> rule_pb2.AlertRule:
    rule = rule_pb2.AlertRule(id=id, template_id=KEY, scope=scope)
    rule.config.parameters["threshold"].number_value = threshold
    return rule


def _target(host: str, group: str, at: HostPort) -> target_pb2.Target:
    exporter = target_pb2.Exporter(name="node", port=at.port, path=metrics_path(host))
    return target_pb2.Target(id=host, hostname=host, address=at.host, exporters=[exporter], group_ids=[group])


async def _made(call: Awaitable[Message]) -> bool:
    """Whether the call created something; False where it is there already."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        return False
    return True


def _words(made: int, total: int, what: str, more: str) -> str:
    if made == total:
        return f"{total} {what}: {more}"
    return f"{total} {what} are there already, and were kept" if not made else f"{made} of {total} {what} were missing"
