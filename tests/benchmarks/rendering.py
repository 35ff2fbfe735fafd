"""Rendering a group, and everything, anew."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import asyncpg

from rule_service.domain.model import AlertRule, KeyWorld, Namespace
from rulecast.v1 import delivery_pb2, namespace_pb2
from tests.benchmarks.bench import UNCHECKED, Bench
from tests.benchmarks.by_hand import check
from tests.benchmarks.figure import Beside, Figure, p99, timed
from tests.benchmarks.population import GROUP_SIZE, file_of, group, group_id, rules
from tests.support.rendering import render_key
from tests.support.system import Replica
from tests.support.truth import contradictions

RPC = 1_800.0
PAUSE = 0.02
_ALL_FILES = "SELECT md5(string_agg(sha256::text, '' ORDER BY name)) FROM rendered_files"


async def group_100(bench: Bench) -> AsyncIterator[Figure]:
    """RegenerateGroup of a group of 100 rules of which nothing is rendered yet, beside promtool on its file."""
    async with bench.database(GROUP_SIZE) as url, bench.replica(url) as service:
        file = bench.home() / file_of(0)
        wanted = (await service.delivery.GetRuleFile(delivery_pb2.GetRuleFileRequest(file_name=file.name))).content
        file.write_text(wanted)
        connection = await asyncpg.connect(url)
        found = Beside()
        try:
            for _ in range(bench.times(50, 10)):
                await _forget_rendered(connection)
                found.ours.append(await timed(lambda: _regenerate_group(service)))
                found.floor.append(await timed(lambda: check(bench.parts.promtool, file)))
        finally:
            await connection.close()
        request = delivery_pb2.GetRuleFileRequest(file_name=file.name)
        assert (await service.delivery.GetRuleFile(request)).content == wanted
        wrong = await contradictions(url)
        assert not wrong, wrong
    figure = found.figure("group_100", "p50 at most 0.5 s", reached=False)
    yield found.figure("group_100", figure.bound, figure.median <= 0.5)


async def _regenerate_group(service: Replica) -> None:
    request = delivery_pb2.RegenerateGroupRequest(group_id=group_id(0))
    answer = await service.delivery.RegenerateGroup(request, timeout=RPC)
    assert [file.rule_count for file in answer.change.files] == [GROUP_SIZE]


async def _forget_rendered(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """As before the first rendering: the log says that the files were deleted."""
    async with connection.transaction():
        await connection.execute(
            """
            WITH counter AS (
                UPDATE revision_counter SET revision = revision + 1, commit_id = gen_random_uuid()
                RETURNING revision, commit_id
            ),
            logged AS (
                INSERT INTO history (revision, commit_id, at, author, method)
                SELECT revision, commit_id, clock_timestamp(), 'benchmark', 'Forget' FROM counter
            )
            INSERT INTO change_log (revision, file_name, sha256)
            SELECT counter.revision, name, NULL FROM counter, rendered_files
            """
        )
        await connection.execute("DELETE FROM rendered_rules")
        await connection.execute("DELETE FROM rendered_files")
    await connection.execute("VACUUM ANALYZE rendered_rules, rendered_files")


async def full(bench: Bench, name: str, count: int) -> AsyncIterator[Figure]:
    """RegenerateAll where nothing is rendered yet, and how quick a small RPC is meanwhile."""
    rate = await asyncio.to_thread(_rendered_per_second, min(count, 20_000))
    async with bench.database(count) as url, bench.replica(url, UNCHECKED) as service:
        connection = await asyncpg.connect(url, command_timeout=600)
        try:
            before = await connection.fetchval(_ALL_FILES)
            await _forget_rendered(connection)
            done = asyncio.Event()
            small: list[float] = []
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(_ask(service, done, small), name="small RPCs")
                began = time.perf_counter()
                answer = await service.delivery.RegenerateAll(delivery_pb2.RegenerateAllRequest(), timeout=RPC)
                took = time.perf_counter() - began
                done.set()
                await asking
            assert (answer.files_generated, list(answer.errors)) == (count // GROUP_SIZE, [])
            assert await connection.fetchval(_ALL_FILES) == before, "everything is as it was rendered before"
            database = await connection.fetchval("SELECT pg_database_size(current_database())")
            floor = await _store_again(connection)
        finally:
            await connection.close()
        memory = peak_memory(service.child.pid)
    yield Figure(
        name,
        took,
        took,
        1,
        "at least 20,000 rules rendered a second; at most 400 MB",
        rate >= 20_000 and memory <= 400e6,
        floor,
        floor,
        {
            "rendered_per_second": round(rate),
            "stored_per_second": round(count / took),
            "memory_mb": round(memory / 1e6),
            "database_mb": round(database / 1e6),
        },
    )
    yield Figure(
        f"{name}_small_rpcs",
        median(small),
        p99(small),
        len(small),
        "p99 at most 100 ms",
        p99(small) <= 0.1,
    )


def _rendered_per_second(count: int) -> float:
    """By the renderer alone, on one core."""
    by_key: dict[str, list[AlertRule]] = {}
    for rule in rules(count):
        by_key.setdefault(rule.key, []).append(rule)
    groups = {group_id(number): group(number) for number in range(count // GROUP_SIZE)}
    worlds = [
        KeyWorld(key, {"default": Namespace("default", "group_id")}, groups, tuple(of_key))
        for key, of_key in by_key.items()
    ]
    began = time.process_time()
    for world in worlds:
        render_key(world)
    return count / (time.process_time() - began)


async def _ask(service: Replica, done: asyncio.Event, took: list[float]) -> None:
    request = namespace_pb2.GetNamespaceRequest(id="default")

    async def ask() -> None:
        await service.namespaces.GetNamespace(request, timeout=RPC)

    while not done.is_set():
        took.append(await timed(ask))
        await asyncio.sleep(PAUSE)


async def _store_again(connection: "asyncpg.Connection[asyncpg.Record]") -> float:
    """Seconds in which PostgreSQL alone copies what was stored."""

    async def copy() -> None:
        await connection.execute("CREATE TABLE bare_rendered (LIKE rendered_rules INCLUDING ALL)")
        await connection.execute("INSERT INTO bare_rendered SELECT * FROM rendered_rules")
        await connection.execute("CREATE TABLE bare_files (LIKE rendered_files INCLUDING ALL)")
        await connection.execute("INSERT INTO bare_files SELECT * FROM rendered_files")

    return await timed(copy)


def peak_memory(pid: int) -> float:
    """Bytes that the process had in memory at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def memory(pid: int) -> float:
    """Bytes that the process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
