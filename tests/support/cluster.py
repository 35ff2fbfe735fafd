"""The whole of Rulecast with a proxy in every connection that may fail, and what must hold of it in the end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc

from deploy.local.parts import PrometheusParts
from rulecast.v1 import common_pb2, delivery_pb2, deployer_pb2, group_pb2
from tests.support.prometheus import running_prometheus
from tests.support.proxy import Proxy
from tests.support.system import Deployer, Replica, System, deployer, replica
from tests.support.truth import contradictions, read_truth
from tests.support.waiting import wait_for

CONVERGE = 90.0
"""Seconds within which all is as it should be, on a loaded machine: a lease, a pause before reconnecting, a reload."""
CALL = 20.0
"""Seconds for one small RPC."""


@dataclass
class Cluster(System):
    """database_url: past the proxies. databases: the proxy of each replica. links: [deployer][replica]."""

    database_url: str = ""
    databases: list[Proxy] = field(default_factory=list)
    links: list[list[Proxy]] = field(default_factory=list)

    def proxies(self) -> list[Proxy]:
        return [*self.databases, *(link for links in self.links for link in links)]

    async def heal(self) -> None:
        """Lets everything flow and starts whatever has ended."""
        for proxy in self.proxies():
            proxy.delay = 0.0
            proxy.thaw()
        services: list[Replica | Deployer] = [*self.replicas, *self.deployers]
        await asyncio.gather(*(each.start() for each in services if not each.child.running))

    async def serving_replica_of(self, at: int) -> int:
        """Which replica the deployer has its stream to; waits until it has one."""
        addresses = [link.address for link in self.links[at]]

        async def connected() -> deployer_pb2.DeployerStatus | None:
            status = await self.deployers[at].service.GetStatus(deployer_pb2.GetStatusRequest(), timeout=CALL)
            return status if status.connected else None

        status = await wait_for(connected, CONVERGE)
        assert status is not None
        return addresses.index(status.rule_service)

    async def is_alone(self, at: int) -> bool:
        """Whether the deployer has no stream."""
        status = await self.deployers[at].service.GetStatus(deployer_pb2.GetStatusRequest(), timeout=CALL)
        return not status.connected

    async def converged(self, timeout: float = CONVERGE) -> None:
        """Waits until the disk of every deployer is what the database says and its Prometheus runs it, and the rule
        service says so. The database has to agree with itself.
        """
        await wait_for(self._converged, timeout, every=0.1)
        assert await contradictions(self.database_url) == []

    async def _converged(self) -> bool:
        truth = await read_truth(self.database_url)
        for each in self.deployers:
            if each.files() != truth.files or await running_rules(each) != truth.rules:
                return False
        return await self._all_active(truth.revision)

    async def _all_active(self, revision: int) -> bool:
        try:
            answer = await self.first.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=CALL)
        except grpc.aio.AioRpcError:
            return False
        states = {each.id: each.state for each in answer.deployers if each.connected}
        names = {each.id for each in self.deployers}
        return answer.revision == revision and all(states.get(name) == common_pb2.Rollout.ACTIVE for name in names)


async def running_rules(deployer: Deployer) -> dict[str, str]:
    """The digest of each rule that its Prometheus runs, by rule id."""
    found = {}
    for group in await deployer.api("/api/v1/rules", "groups"):
        for rule in group["rules"]:
            id, _, digest = rule["annotations"]["rulecast_rule"].partition("@")
            assert id not in found, f"rule {id} runs twice"
            found[id] = digest
    return found


async def missed_evaluations(deployer: Deployer) -> float:
    """How many evaluations of rules its Prometheus has left out since it started."""
    return sum((await _samples(deployer, "prometheus_rule_group_iterations_missed_total")).values())


async def _samples(deployer: Deployer, metric: str) -> dict[str, float]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL)) as session,
        session.get(deployer.prometheus.url + "/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith((metric + "{", metric + " "))]
    return {series: float(value) for series, _, value in found}


def reloads(deployer: Deployer) -> int:
    """How often its Prometheus has loaded its configuration since it was started first, the first time included."""
    log = (deployer.folder / "prometheus.log").read_text(errors="replace")
    return log.count("Completed loading of configuration file")


async def make_groups(cluster: System, *ids: str) -> None:
    for id in ids:
        request = group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id))
        await cluster.first.groups.CreateGroup(request, timeout=CALL)


@asynccontextmanager
async def running_cluster(
    folder: Path,
    database: str,
    parts: PrometheusParts,
    *,
    replicas: int = 2,
    deployers: int = 2,
    settings: Mapping[str, str] | None = None,
    interval: str = "1s",
) -> AsyncIterator[Cluster]:
    """Everything started and connected; everything ended afterwards, also when the body fails.

    interval: at which the Prometheus evaluate.
    """
    async with AsyncExitStack() as stack:
        cluster = Cluster(database_url=database)
        for at in range(replicas):
            proxy = await stack.enter_async_context(Proxy.to(database))
            cluster.databases.append(proxy)
            one = replica(folder, proxy.url, parts.promtool, name=f"replica-{at}", settings=settings)
            stack.push_async_callback(one.channel.close)
            stack.push_async_callback(one.child.stop)
            cluster.replicas.append(one)
        await asyncio.gather(*(each.start() for each in cluster.replicas))
        for at in range(deployers):
            links = [await stack.enter_async_context(Proxy.to_address(each.address)) for each in cluster.replicas]
            cluster.links.append(links)
            home = folder / f"deployer-{at}"
            home.mkdir()
            prometheus = await stack.enter_async_context(
                running_prometheus(parts, home, rules=home / "rules", interval=interval)
            )
            addresses = [link.address for link in links]
            beside = deployer(home, prometheus, parts, addresses, name=f"deployer-{at}")
            stack.push_async_callback(beside.channel.close)
            stack.push_async_callback(beside.child.stop)
            cluster.deployers.append(beside)
        await asyncio.gather(*(each.start() for each in cluster.deployers))
        await cluster.connected()
        yield cluster
