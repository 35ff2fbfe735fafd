"""One rule service, one Prometheus and one deployer beside it, each as a test of faults wants it to be."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.parts import PrometheusParts
from deploy.local.process import free_port
from deploy.local.prometheus import PrometheusServer
from rulecast.v1 import common_pb2, delivery_pb2, deployer_pb2, group_pb2, rule_pb2
from tests.support.system import RPC, Deployer, System, deployer, replica
from tests.support.waiting import wait_for

PATIENCE = 60.0
"""Seconds within which something deferred is active once its cause is gone, on a loaded machine."""
UNCHECKED = {"PROMETHEUS_VALIDATE_RULES": "false"}
"""Settings of a service that asks no promtool."""
UNKNOWN_FUNCTION = "mad_over_time(cpu_percent[5m]) > {{ .threshold }}"
"""A query that the rule service's own parser takes, but no promtool and no Prometheus without a feature flag."""


@dataclass
class Solo(System):
    """metrics_url: of the deployer."""

    metrics_url: str = ""

    @property
    def deployer(self) -> Deployer:
        return self.deployers[0]

    @property
    def prometheus(self) -> PrometheusServer:
        return self.deployer.prometheus

    @property
    def rules(self) -> Path:
        """The rule directory."""
        return self.deployer.rules

    async def make_groups(self, *ids: str) -> None:
        for id in ids:
            await self.first.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id)), timeout=RPC)

    async def create(self, rule: rule_pb2.AlertRule) -> common_pb2.Rollout:
        """Waits until the rule's fate is known."""
        request = rule_pb2.CreateAlertRuleRequest(rule=rule, wait_for=common_pb2.ACTIVE)
        answer: rule_pb2.CreateAlertRuleResponse = await self.first.rules.CreateAlertRule(request, timeout=RPC)
        return answer.change.rollout

    async def update(self, rule: rule_pb2.AlertRule, *paths: str) -> common_pb2.Rollout:
        """Changes the fields at these paths, and waits until the fate of that is known."""
        request = rule_pb2.UpdateAlertRuleRequest(
            rule=rule, update_mask=FieldMask(paths=paths), wait_for=common_pb2.ACTIVE
        )
        answer: rule_pb2.UpdateAlertRuleResponse = await self.first.rules.UpdateAlertRule(request, timeout=RPC)
        return answer.change.rollout

    async def set_threshold(self, id: str, threshold: float) -> common_pb2.Rollout:
        rule = rule_pb2.AlertRule(id=id)
        rule.config.parameters["threshold"].number_value = threshold
        return await self.update(rule, "config.parameters.threshold")

    async def set_query(self, id: str, query: str) -> common_pb2.Rollout:
        rule = rule_pb2.AlertRule(id=id)
        rule.spec.query = query
        return await self.update(rule, "spec.query")

    async def disable(self, id: str) -> common_pb2.Rollout:
        return await self.update(rule_pb2.AlertRule(id=id, enabled=False), "enabled")

    async def rollout(self, revision: int) -> common_pb2.Rollout:
        request = delivery_pb2.GetRolloutRequest(revision=revision)
        answer: common_pb2.Rollout = await self.first.delivery.GetRollout(request, timeout=RPC)
        return answer

    async def becomes_active(self, revision: int, within: float = PATIENCE) -> None:
        """Waits until the rule service says so of the revision, without anybody doing anything for it."""

        async def is_active() -> bool:
            return (await self.rollout(revision)).state == common_pb2.Rollout.ACTIVE

        await wait_for(is_active, within, every=0.1)
        request = delivery_pb2.WaitForRolloutRequest(revision=revision)
        waited = await self.first.delivery.WaitForRollout(request, timeout=RPC)
        assert waited.state == common_pb2.Rollout.ACTIVE

    async def as_listed(self) -> delivery_pb2.Deployer:
        """The deployer, as the rule service knows it."""
        answer = await self.first.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
        (found,) = answer.deployers
        return found  # type: ignore[no-any-return]

    async def status(self) -> deployer_pb2.DeployerStatus:
        """The deployer, as it knows itself."""
        answer: deployer_pb2.DeployerStatus = await self.deployer.service.GetStatus(
            deployer_pb2.GetStatusRequest(), timeout=RPC
        )
        return answer

    async def contents(self) -> dict[str, bytes]:
        """The files as they should be, by name."""
        listed = await self.first.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
        found = {}
        for file in listed.files:
            request = delivery_pb2.GetRuleFileRequest(file_name=file.file_name)
            found[file.file_name] = (await self.first.delivery.GetRuleFile(request, timeout=RPC)).content.encode()
        return found

    async def thresholds(self) -> dict[str, float]:
        """What the rules that Prometheus runs compare with, by rule id."""
        return {id: float(expr.rpartition(" ")[2]) for id, expr in (await self.deployer.running_exprs()).items()}

    async def deployer_metrics(self) -> dict[str, float]:
        return await samples(self.metrics_url)

    async def service_metrics(self) -> dict[str, float]:
        return await samples(self.first.url + "/metrics")

    def reloads(self) -> int:
        """How often Prometheus has loaded its configuration, the first time included."""
        log = (self.deployer.folder / "prometheus.log").read_text(errors="replace")
        return log.count("Completed loading of configuration file")


async def samples(url: str) -> dict[str, float]:
    """What is under a `/metrics`: the value of each series, as it is written there."""
    timeout = aiohttp.ClientTimeout(total=RPC)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    found = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in found}


def only_trouble(files: Iterable[common_pb2.FileOutcome]) -> tuple[str, str, str]:
    """File, state and reason of the only file that is not active."""
    (file,) = files
    return file.file_name, common_pb2.Rollout.State.Name(file.state), file.reason


def told(rollout: common_pb2.Rollout) -> tuple[str, str, str]:
    """The same of a rollout, which has to have the state of that file."""
    (part,) = rollout.deployers
    assert rollout.state == part.state == part.files[0].state
    return only_trouble(part.files)


@asynccontextmanager
async def solo(
    folder: Path,
    database: str,
    parts: PrometheusParts,
    *,
    settings: Mapping[str, str] | None = None,
    deployer_settings: Mapping[str, str] | None = None,
    configuration: Mapping[str, Any] | None = None,
    lifecycle: bool = True,
    through: tuple[str, ...] = (),
) -> AsyncIterator[Solo]:
    """Started and connected; everything ended afterwards, also when the body fails.

    configuration: of Prometheus, over what it has otherwise. lifecycle: whether Prometheus may be reloaded by HTTP.
    through: what runs the deployer, see `tests.support.system.deployer`.
    """
    async with AsyncExitStack() as stack:
        service = await _entered(stack, replica(folder, database, parts.promtool, settings=settings))
        config = folder / "prometheus.yml"
        configure(config, {"rule_files": [f"{folder / 'rules'}/*.yml"], **(configuration or {})})
        prometheus = PrometheusServer(
            parts, config=config, data=folder / "data", log=folder / "prometheus.log", lifecycle=lifecycle
        )
        stack.push_async_callback(prometheus.stop)
        await asyncio.gather(service.start(), prometheus.start())
        port = free_port()
        own = {"DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{port}", **(deployer_settings or {})}
        beside = deployer(folder, prometheus, parts, [service.address], settings=own, through=through)
        await _entered(stack, beside)
        await beside.start()
        here = Solo([service], [beside], metrics_url=f"http://127.0.0.1:{port}/metrics")
        await here.connected()
        yield here


def configure(config: Path, configuration: Mapping[str, Any]) -> None:
    """Writes a configuration of Prometheus, with short intervals where it says nothing of them."""
    intervals = {"evaluation_interval": "1s", "scrape_interval": "1s", "scrape_timeout": "1s"}
    config.write_text(yaml.safe_dump({"global": intervals, **configuration}))


async def _entered(stack: AsyncExitStack, service: Any) -> Any:
    """A replica or a deployer that is ended with the stack."""
    stack.push_async_callback(service.channel.close)
    stack.push_async_callback(service.child.stop)
    return service
