"""The demo's story: groups, hosts, one alert with other settings for each group, told over gRPC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.exporter import metrics_path
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


@dataclass(frozen=True, slots=True)
class Applied:
    """What applies to a group, as GetEffectiveRules says. threshold: percent."""

    group: str
    hosts: Sequence[str]
    rule_id: str
    enabled: bool
    threshold: float


class Demo:
    """The calls that a person would make. What is there already is kept as it is."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # the generated stubs have two sides, and mypy can not choose
        self._templates: Any = AlertTemplateServiceStub(channel)
        self._groups: Any = GroupServiceStub(channel)
        self._targets: Any = TargetServiceStub(channel)
        self._rules: Any = AlertRuleServiceStub(channel)
        self._delivery: Any = DeliveryServiceStub(channel)

    async def load_library(self) -> str:
        """In words, what came of it."""
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

    async def create_targets(self, port: int) -> str:
        """port: where the demo exporter plays the hosts now."""
        made = total = 0
        for group, hosts in HOSTS.items():
            for host in hosts:
                target = target_pb2.Target(
                    id=host,
                    hostname=host,
                    address="127.0.0.1",
                    exporters=[target_pb2.Exporter(name="node", port=port, path=metrics_path(host))],
                    group_ids=[group],
                )
                total += 1
                new = await _made(
                    self._targets.CreateTarget(target_pb2.CreateTargetRequest(target=target), timeout=RPC)
                )
                made += new
                if not new:
                    moved = target_pb2.UpdateTargetRequest(target=target, update_mask=FieldMask(paths=["exporters"]))
                    await self._targets.UpdateTarget(moved, timeout=RPC)
        return _words(made, total, "hosts", "all of them at 90 % CPU")

    async def create_rules(self) -> str:
        """The global rule, its overrides, and then the wait until Prometheus runs them."""
        everywhere = _rule("high-cpu", _everywhere(), threshold=90)
        everywhere.config.for_duration = "10s"
        everywhere.config.parameters["window"].string_value = "30s"
        rules = [
            everywhere,
            _rule("high-cpu-production", common_pb2.Scope(group_id="production"), threshold=80),
            _rule("high-cpu-development", common_pb2.Scope(group_id="development"), threshold=95),
            _rule("high-cpu-lab", common_pb2.Scope(group_id="lab"), enabled=False),
        ]
        made = 0
        for rule in rules:
            request = rule_pb2.CreateAlertRuleRequest(rule=rule)
            made += await _made(self._rules.CreateAlertRule(request, timeout=RPC))
        return _words(made, len(rules), "rules of the alert HighCPU", "80 % production, 95 % development, off lab")

    async def wait_until_active(self) -> str:
        """In words, what became of the newest revision. Raises RuntimeError when it is not running."""
        newest = await self._delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
        request = delivery_pb2.WaitForRolloutRequest(revision=newest.revision)
        rollout = await self._delivery.WaitForRollout(request, timeout=2 * RPC)
        state = common_pb2.Rollout.State.Name(rollout.state)
        if rollout.state != common_pb2.Rollout.ACTIVE:
            raise RuntimeError(f"revision {rollout.revision} is {state}:\n{rollout}")
        files = await self._delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
        rules = sum(file.rule_count for file in files.files)
        return f"revision {rollout.revision} is {state}: Prometheus runs {rules} rules in {len(files.files)} files"

    async def applied(self) -> list[Applied]:
        """What applies to each group, asked for one of its hosts."""
        found = []
        for group, hosts in HOSTS.items():
            request = rule_pb2.GetEffectiveRulesRequest(target_id=hosts[0], key=KEY)
            for rule in (await self._rules.GetEffectiveRules(request, timeout=RPC)).rules:
                threshold = rule.config.parameters["threshold"].number_value
                found.append(Applied(group, hosts, rule.rule_id, rule.enabled, threshold))
        return found


def _everywhere() -> common_pb2.Scope:
    scope = common_pb2.Scope()
    getattr(scope, "global").SetInParent()
    return scope


def _rule(
    id: str, scope: common_pb2.Scope, *, threshold: float | None = None, enabled: bool = True
) -> rule_pb2.AlertRule:
    rule = rule_pb2.AlertRule(id=id, template_id=KEY, scope=scope, enabled=enabled)
    if threshold is not None:
        rule.config.parameters["threshold"].number_value = threshold
    return rule


async def _made(call: Any) -> bool:
    """Whether the call created something; False where it is there already."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        return False
    return True


def _words(made: int, total: int, what: str, more: str) -> str:
    return f"{total} {what}: {more}" if made else f"{total} {what} are there already, and were kept"
