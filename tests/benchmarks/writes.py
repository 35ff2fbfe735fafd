"""The write RPC alone, and many at once."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path

import asyncpg

from rulecast.v1 import delivery_pb2
from tests.benchmarks.bench import UNCHECKED, Bench
from tests.benchmarks.by_hand import check
from tests.benchmarks.edits import set_threshold
from tests.benchmarks.figure import Beside, Figure, p99, timed
from tests.benchmarks.population import GROUP_SIZE, file_of, rule_id
from tests.support.system import Replica
from tests.support.truth import contradictions

CLIENTS = 16


class Bare:
    """What PostgreSQL alone needs to write down an edit: the rule, its file, the revision, durably."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def edit(self, group: int, alert: int) -> None:
        async with self._connection.transaction():
            await self._connection.execute("UPDATE bare_counter SET revision = revision + 1")
            await self._connection.execute(
                "UPDATE bare_rules SET revision = revision + 1 WHERE id = $1", rule_id(group, alert)
            )
            await self._connection.execute(
                "UPDATE bare_files SET revision = revision + 1 WHERE name = $1", file_of(group)
            )


async def edit_rpc(bench: Bench, name: str, rules: int) -> AsyncIterator[Figure]:
    """With promtool's word beside one promtool process, without it beside the bare transaction."""
    times = bench.times(200, 50)
    async with bench.database(rules) as url, bench.replica(url) as checked, bench.replica(url, UNCHECKED) as unchecked:
        rule = await one_rule(checked, bench.home())
        bare = await asyncpg.connect(url)
        try:
            await _prepare(bare)
            numbers = itertools.count(1000)
            with_promtool, without = Beside(), Beside()
            for at in range(times + 5):
                group, alert, threshold = at % (rules // GROUP_SIZE), 7 * at % GROUP_SIZE, next(numbers)
                took = [
                    await timed_edit(checked, group, alert, threshold),
                    await timed(partial(check, bench.parts.promtool, rule)),
                    await timed_edit(unchecked, group, alert, threshold + 1_000_000),
                    await timed(partial(Bare(bare).edit, group, alert)),
                ]
                if at >= 5:
                    with_promtool.ours.append(took[0])
                    with_promtool.floor.append(took[1])
                    without.ours.append(took[2])
                    without.floor.append(took[3])
        finally:
            await bare.close()
        wrong = await contradictions(url)
        assert not wrong, wrong
    yield _kept(with_promtool, name, 0.060)
    yield _kept(without, f"{name}_unchecked", 0.020)


def _kept(found: Beside, name: str, bound: float) -> Figure:
    figure = found.figure(name, f"p50 at most {bound * 1000:.0f} ms", reached=False)
    return found.figure(name, figure.bound, figure.median <= bound)


async def timed_edit(replica: Replica, group: int, alert: int, threshold: int) -> float:
    began = time.perf_counter()
    answer = await set_threshold(replica, group, alert, threshold)
    took = time.perf_counter() - began
    assert [file.file_name for file in answer.change.files] == [file_of(group)]
    assert answer.rule.config.parameters["threshold"].number_value == threshold
    return took


async def one_rule(replica: Replica, folder: Path) -> Path:
    """A file with one rule, as promtool gets it for an edit."""
    request = delivery_pb2.GetRuleFileRequest(file_name=file_of(0))
    content = (await replica.delivery.GetRuleFile(request)).content
    head, _, rest = content.partition("    rules:\n")
    path = folder / "rule.yml"
    path.write_text(head + "    rules:\n      - alert:" + rest.split("      - alert:")[1])
    return path


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.execute(
        """
        CREATE TABLE bare_counter AS SELECT revision FROM revision_counter;
        CREATE TABLE bare_rules AS SELECT * FROM rules;
        CREATE TABLE bare_files AS SELECT * FROM rendered_files;
        ALTER TABLE bare_rules ADD PRIMARY KEY (id);
        ALTER TABLE bare_files ADD PRIMARY KEY (name);
        """
    )


async def writes(bench: Bench) -> AsyncIterator[Figure]:
    yield await _writes(bench, "writes", {})
    yield await _writes(bench, "writes_unchecked", UNCHECKED)


async def _writes(bench: Bench, name: str, settings: dict[str, str]) -> Figure:
    """16 clients that edit different rules one after the other."""
    seconds = 20.0 if not bench.quick else 6.0
    async with bench.database(10_000) as url, bench.replica(url, settings) as service:
        latencies: list[float] = []
        thresholds = itertools.count(1000)

        async def client(number: int, until: float) -> None:
            for at in itertools.count():
                if time.perf_counter() > until:
                    return
                # each client has groups of its own: they edit different rules, in different files
                group = (number + CLIENTS * at) % 96
                latencies.append(await timed_edit(service, group, at % GROUP_SIZE, next(thresholds)))

        await _at_once(client, 1.0)
        latencies.clear()
        took = await _at_once(client, seconds)
        done = len(latencies)
        wrong = await contradictions(url)
        assert not wrong, wrong
        bare = await _bare_rate(url, 3.0)
    rate = done / took
    return Figure(
        name,
        sorted(latencies)[done // 2],
        p99(latencies),
        done,
        "at least 300 a second",
        rate >= 300,
        CLIENTS / bare,
        facts={"per_second": round(rate, 1), "bare_per_second": round(bare, 1)},
    )


async def _at_once(client: Callable[[int, float], Coroutine[None, None, None]], seconds: float) -> float:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client(number, began + seconds), name=f"client {number}")
    return time.perf_counter() - began


async def _bare_rate(url: str, seconds: float) -> float:
    connections = [await asyncpg.connect(url) for _ in range(CLIENTS)]
    done = 0
    try:
        await _prepare(connections[0])

        async def client(number: int, until: float) -> None:
            nonlocal done
            for at in itertools.count():
                if time.perf_counter() > until:
                    return
                await Bare(connections[number]).edit((number + CLIENTS * at) % 96, at % GROUP_SIZE)
                done += 1

        took = await _at_once(client, seconds)
        return done / took
    finally:
        for connection in connections:
            await connection.close()
