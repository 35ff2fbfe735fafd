"""From the rule service to deployers: a whole snapshot, and one change for very many."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rulecast.v1 import common_pb2, delivery_pb2
from tests.benchmarks.bench import UNCHECKED, Bench
from tests.benchmarks.edits import set_threshold
from tests.benchmarks.figure import Figure, p99
from tests.benchmarks.followers import Followers
from tests.benchmarks.population import GROUP_SIZE
from tests.benchmarks.rendering import memory, peak_memory
from tests.support.system import Deployer, Replica
from tests.support.waiting import wait_for

RULES = 100_000
PATIENCE = 900.0


async def snapshot_100k(bench: Bench) -> AsyncIterator[Figure]:
    """A deployer with nothing connects: until all contents are staged, beside the bytes alone over a bare stream."""
    async with (
        bench.database(RULES) as url,
        bench.replica(url, UNCHECKED) as service,
        bench.deployer(service, bench.parts, {"PROMETHEUS_RELOAD_TIMEOUT": "300s"}) as beside,
    ):
        # the service has read its manifest, and holds no file yet
        async with Followers.running(bench.home(), service.address, 1) as bare:
            floor = bare.snapshot_seconds
        await beside.start()
        staged_at = await _staged(beside, RULES // GROUP_SIZE)
        took = staged_at - await _welcomed(beside)
        received = memory(beside.child.pid)
        await _active(service, beside)
        memory_mb = peak_memory(beside.child.pid) / 1e6
        assert len(await beside.running_exprs()) == RULES
    yield Figure(
        "snapshot_100k",
        took,
        took,
        1,
        "at most 5 s until it is staged; at most 200 MB",
        took <= 5.0 and memory_mb <= 200,
        floor,
        floor,
        {"memory_mb": round(memory_mb), "memory_when_staged_mb": round(received / 1e6)},
    )


async def _staged(deployer: Deployer, files: int) -> float:
    content = deployer.rules / ".rulecast" / "content"

    def all_there() -> bool:
        return content.exists() and sum(1 for _ in content.iterdir()) >= files

    await wait_for(all_there, PATIENCE, every=0.01)
    return time.time()


async def _welcomed(deployer: Deployer) -> float:
    """When its stream was welcomed: when its lock file was made, which is just before it connects."""
    return (deployer.rules / ".rulecast" / "lock").stat().st_mtime


async def _active(service: Replica, deployer: Deployer) -> None:
    async def is_active() -> bool:
        answer = await service.delivery.ListDeployers(delivery_pb2.ListDeployersRequest())
        states = {each.id: (each.state, each.revision) for each in answer.deployers}
        return states.get(deployer.id) == (common_pb2.Rollout.ACTIVE, answer.revision)

    await wait_for(is_active, PATIENCE, every=0.2)


async def fanout(bench: Bench, name: str, count: int) -> AsyncIterator[Figure]:
    """One edit until each of so many deployers has it."""
    settings = {**UNCHECKED, "RULE_SERVICE_STREAM_HEARTBEAT": "10s"}
    async with bench.database(1_000) as url, bench.replica(url, settings) as service:
        await set_threshold(service, 0, 0, 999)
        empty = memory(service.child.pid)
        async with _following(bench, service, count) as followers:
            per_stream = (memory(service.child.pid) - empty) / count
            last: list[float] = []
            every: list[float] = []
            for at in range(bench.times(20, 5)):
                took = await _one_change(service, followers, at)
                last.append(max(took))
                every += took
    yield Figure(
        name,
        sorted(last)[len(last) // 2],
        p99(every),
        len(every),
        "p99 at most 0.5 s; at most 100 kB for a stream",
        p99(every) <= 0.5 and per_stream <= 100e3,
        facts={"kb_per_stream": round(per_stream / 1000)},
    )


@asynccontextmanager
async def _following(bench: Bench, service: Replica, count: int) -> AsyncIterator[Followers]:
    async with Followers.running(bench.home(), service.address, count) as followers:
        await asyncio.sleep(1.0)  # what connecting left has been collected
        yield followers


async def _one_change(service: Replica, followers: Followers, at: int) -> list[float]:
    """Seconds from the call until each of them had the new file."""
    began = time.monotonic()
    answer = await set_threshold(service, at % 10, at % GROUP_SIZE, 1000 + at)
    (file,) = answer.change.files
    return [had - began for had in await followers.had(file.file_name, answer.change.revision)]
