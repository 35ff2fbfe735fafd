"""The whole of Rulecast as real processes: rule services on one database, and deployers, each beside a Prometheus."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.local.parts import PrometheusParts
from deploy.local.process import Child, free_port, service
from deploy.local.prometheus import PrometheusServer
from rulecast.v1 import common_pb2, delivery_pb2, deployer_pb2, rule_pb2, template_pb2
from rulecast.v1.bundle_pb2_grpc import BundleServiceStub
from rulecast.v1.delivery_pb2_grpc import DeliveryServiceStub
from rulecast.v1.deployer_pb2_grpc import DeployerServiceStub
from rulecast.v1.discovery_pb2_grpc import DiscoveryServiceStub
from rulecast.v1.group_pb2_grpc import GroupServiceStub
from rulecast.v1.history_pb2_grpc import HistoryServiceStub
from rulecast.v1.namespace_pb2_grpc import NamespaceServiceStub
from rulecast.v1.preview_pb2_grpc import PreviewServiceStub
from rulecast.v1.rule_pb2_grpc import AlertRuleServiceStub
from rulecast.v1.target_pb2_grpc import TargetServiceStub
from rulecast.v1.template_pb2_grpc import AlertTemplateServiceStub
from rulecast.v1.token_pb2_grpc import TokenServiceStub
from tests.support.prometheus import running_prometheus
from tests.support.waiting import wait_for

START = 60.0
"""Seconds that a service may take to serve, on a loaded machine."""
RPC = 60.0
"""Seconds that one RPC may take."""


@dataclass
class Replica:
    """One rule service process. The ports stay the same over restarts."""

    child: Child
    grpc_port: int
    http_port: int
    channel: grpc.aio.Channel

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def serving(self) -> bool:
        return await _serving(self.channel)

    async def start(self) -> None:
        self.child.start()
        await self.child.until(self.serving, timeout=START)

    @property
    def namespaces(self) -> Any:
        return NamespaceServiceStub(self.channel)

    @property
    def groups(self) -> Any:
        return GroupServiceStub(self.channel)

    @property
    def targets(self) -> Any:
        return TargetServiceStub(self.channel)

    @property
    def templates(self) -> Any:
        return AlertTemplateServiceStub(self.channel)

    @property
    def rules(self) -> Any:
        return AlertRuleServiceStub(self.channel)

    @property
    def history(self) -> Any:
        return HistoryServiceStub(self.channel)

    @property
    def bundles(self) -> Any:
        return BundleServiceStub(self.channel)

    @property
    def previews(self) -> Any:
        return PreviewServiceStub(self.channel)

    @property
    def delivery(self) -> Any:
        return DeliveryServiceStub(self.channel)

    @property
    def discovery(self) -> Any:
        return DiscoveryServiceStub(self.channel)

    @property
    def tokens(self) -> Any:
        return TokenServiceStub(self.channel)


@dataclass
class Deployer:
    """One deployer process, its Prometheus and its rule directory."""

    id: str
    child: Child
    grpc_port: int
    folder: Path
    prometheus: PrometheusServer
    channel: grpc.aio.Channel

    @property
    def rules(self) -> Path:
        return self.folder / "rules"

    @property
    def service(self) -> Any:
        return DeployerServiceStub(self.channel)

    async def start(self) -> None:
        self.child.start()
        await self.child.until(lambda: _serving(self.channel), timeout=START)

    def files(self) -> dict[str, bytes]:
        """The rule files on disk, by name."""
        return {path.name: path.read_bytes() for path in self.rules.glob("*.yml")}

    async def running_exprs(self) -> dict[str, str]:
        """What Prometheus says it runs: the expression of each rule, by rule id."""
        found = {}
        for group in await self.api("/api/v1/rules", "groups"):
            for rule in group["rules"]:
                found[rule["annotations"]["rulecast_rule"].partition("@")[0]] = rule["query"]
        return found

    async def api(self, path: str, key: str, **query: str) -> Any:
        """`data.<key>` of an answer of Prometheus."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=RPC)) as session,
            session.get(self.prometheus.url + path, params=query) as answer,
        ):
            return (await answer.json())["data"][key]


@dataclass
class System:
    replicas: list[Replica] = field(default_factory=list)
    deployers: list[Deployer] = field(default_factory=list)

    @property
    def first(self) -> Replica:
        return self.replicas[0]

    async def connected(self) -> None:
        """Waits until every deployer has a stream."""
        names = {deployer.id for deployer in self.deployers}

        async def all_there() -> bool:
            answer = await self.first.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
            return names <= {each.id for each in answer.deployers if each.connected}

        await wait_for(all_there, timeout=START)

    async def settled(self) -> None:
        """Waits until the files of every deployer are those of the database and every Prometheus runs them."""
        await wait_for(self._is_settled, timeout=START)

    async def _is_settled(self) -> bool:
        listed = await self.first.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
        wanted = {file.file_name: file.sha256 for file in listed.files}
        answer = await self.first.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
        states = {each.id: each.state for each in answer.deployers}
        for deployer in self.deployers:
            status = await deployer.service.ListFiles(deployer_pb2.ListFilesRequest(), timeout=RPC)
            has = {file.file_name: file.sha256 for file in status.files}
            if has != wanted or states.get(deployer.id) != common_pb2.Rollout.ACTIVE:
                return False
        return True


async def _serving(channel: grpc.aio.Channel) -> bool:
    stub: Any = HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def replica(
    folder: Path, database: str, promtool: Path, *, name: str = "replica", settings: Mapping[str, str] | None = None
) -> Replica:
    """A rule service that is not started yet."""
    grpc_port, http_port = free_port(), free_port()
    environment = {
        "RULE_SERVICE_DATABASE_URL": database,
        "RULE_SERVICE_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
        "RULE_SERVICE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "RULE_SERVICE_STREAM_HEARTBEAT": "1s",
        "PROMTOOL_PATH": str(promtool),
        **(settings or {}),
    }
    child = service("rule_service", "serve", log=folder / f"{name}.log", environment=environment)
    return Replica(child, grpc_port, http_port, grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", _EAGER))


def deployer(
    folder: Path,
    prometheus: PrometheusServer,
    parts: PrometheusParts,
    addresses: list[str],
    *,
    name: str = "deployer",
    settings: Mapping[str, str] | None = None,
    through: tuple[str, ...] = (),
) -> Deployer:
    """A deployer that is not started yet; its rule directory is `folder/rules`.

    through: a module and its arguments, which runs the module whose name and arguments follow.
    """
    grpc_port, http_port = free_port(), free_port()
    environment = {
        "DEPLOYER_ID": name,
        "DEPLOYER_RULE_SERVICE": ",".join(addresses),
        "DEPLOYER_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
        "DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "PROMETHEUS_URL": prometheus.url,
        "PROMETHEUS_RULE_PATH": str(folder / "rules"),
        "PROMTOOL_PATH": str(parts.promtool),
        **(settings or {}),
    }
    command = [*through, "deployer_service", "serve"]
    child = service(command[0], *command[1:], log=folder / "deployer.log", environment=environment)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", _EAGER)
    return Deployer(name, child, grpc_port, folder, prometheus, channel)


_EAGER = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500))


@asynccontextmanager
async def running_system(
    folder: Path,
    database: str,
    parts: PrometheusParts,
    *,
    replicas: int = 1,
    deployers: int = 1,
    settings: Mapping[str, str] | None = None,
    deployer_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[System]:
    """Everything started and connected; everything ended afterwards, also when the body fails."""
    async with AsyncExitStack() as stack:
        system = System()
        for at in range(replicas):
            each = replica(folder, database, parts.promtool, name=f"replica-{at}", settings=settings)
            stack.push_async_callback(each.channel.close)
            stack.push_async_callback(each.child.stop)
            await each.start()
            system.replicas.append(each)
        for at in range(deployers):
            home = folder / f"deployer-{at}"
            home.mkdir()
            prometheus = await stack.enter_async_context(running_prometheus(parts, home, rules=home / "rules"))
            addresses = [each.address for each in system.replicas]
            one = deployer(home, prometheus, parts, addresses, name=f"deployer-{at}", settings=deployer_settings)
            stack.push_async_callback(one.channel.close)
            stack.push_async_callback(one.child.stop)
            await one.start()
            system.deployers.append(one)
        await system.connected()
        yield system


def cpu_rule(
    id: str, scope: common_pb2.Scope, threshold: float, *, key: str = "cpu", **fields: Any
) -> rule_pb2.AlertRule:
    """A direct rule over a metric that nobody has unless the test makes it."""
    rule = rule_pb2.AlertRule(
        id=id,
        key=key,
        scope=scope,
        spec=template_pb2.AlertSpec(
            alert_name="HighCPU",
            severity="warning",
            query="cpu_percent > {{ .threshold }}",
            parameters=[template_pb2.Parameter(name="threshold", type=template_pb2.Parameter.NUMBER)],
        ),
        **fields,
    )
    rule.config.parameters["threshold"].number_value = threshold
    return rule


def global_scope() -> common_pb2.Scope:
    scope = common_pb2.Scope()
    getattr(scope, "global").SetInParent()
    return scope


def group_scope(id: str) -> common_pb2.Scope:
    return common_pb2.Scope(group_id=id)
