"""PostgreSQL stopped, crashed and killed under writers; restored from an older backup; emptied by mistake."""

import asyncio
import itertools
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2, delivery_pb2
from tests.support.cluster import CALL, CONVERGE, Cluster, make_groups, running_cluster, running_rules
from tests.support.person import Person
from tests.support.postgres import fresh_database, make_template
from tests.support.system import global_scope, group_scope
from tests.support.truth import contradictions, read_truth
from tests.support.waiting import wait_for

GROUPS = tuple(f"g{number}" for number in range(6))


@dataclass
class Ground:
    server: PostgresServer
    cluster: Cluster
    person: Person

    async def runs(self, files: dict[str, bytes], rules: dict[str, str]) -> bool:
        (deployer,) = self.cluster.deployers
        return deployer.files() == files and await running_rules(deployer) == rules

    async def outcomes(self) -> dict[str, common_pb2.FileOutcome]:
        """What is known of each file; nothing before a deployer has connected to this database."""
        request = delivery_pb2.ListDeployersRequest()
        deployers = (await self.cluster.first.delivery.ListDeployers(request, timeout=CALL)).deployers
        return {outcome.file_name: outcome for deployer in deployers for outcome in deployer.files}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    """A server of this test's own. What it has committed outlives it, though not the machine."""
    async with PostgresServer(tmp_path / "data", log=tmp_path / "postgres.log", durable=False) as server:
        await make_template(server)
        yield server


@pytest.fixture
async def ground(tmp_path: Path, server: PostgresServer, prometheus_parts: PrometheusParts) -> AsyncIterator[Ground]:
    """Two replicas and a deployer; a rule everywhere and one in the first of the groups."""
    async with (
        fresh_database(server) as database,
        running_cluster(tmp_path, database, prometheus_parts, deployers=1) as cluster,
    ):
        await make_groups(cluster, *GROUPS)
        ground = Ground(server, cluster, Person(cluster.replicas, random.Random(1)))
        await ground.person.create("everywhere", global_scope(), 90)
        await ground.person.create("of-g0", group_scope("g0"), 80)
        await cluster.converged()
        yield ground
        # so that the database can be dropped, whatever the test has done to it
        for replica in cluster.replicas:
            await replica.child.stop()


async def test_stopped_crashed_and_killed_under_writers(ground: Ground) -> None:
    """Everything that was answered is there, and the services find back by themselves."""
    server, cluster = ground.server, ground.cluster
    people = [Person(cluster.replicas, random.Random(seed)) for seed in (1, 2)]
    done = asyncio.Event()

    async def edit(person: Person, rule: str) -> None:
        for threshold in itertools.count(100):
            if done.is_set():
                return
            await person.set_threshold(rule, float(threshold))

    async def kill() -> None:
        server.kill()

    async with asyncio.TaskGroup() as writers:
        for person, rule in zip(people, ("everywhere", "of-g0"), strict=True):
            writers.create_task(edit(person, rule), name=rule)
        ends: tuple[Callable[[], Awaitable[None]], ...] = (server.crash, kill, server.stop, server.crash)
        for end in ends:
            answered = [len(person.acknowledged) for person in people]
            await wait_for(partial(_more_than, people, answered, 3), CONVERGE)
            await end()
            await server.start()
        answered = [len(person.acknowledged) for person in people]
        await wait_for(partial(_more_than, people, answered, 1), CONVERGE)
        done.set()
    await cluster.converged()
    for person in people:
        assert await person.lost(cluster.database_url) == []


def _more_than(people: list[Person], before: list[int], more: int) -> bool:
    return all(len(person.acknowledged) >= count + more for person, count in zip(people, before, strict=True))


async def back_up(server: PostgresServer, folder: Path) -> None:
    """As a person would: the data directory of a server that is stopped."""
    await server.stop()
    await copy(server.data, folder)
    await server.start()


async def restore(server: PostgresServer, folder: Path) -> None:
    await server.stop()
    shutil.rmtree(server.data)
    await copy(folder, server.data)
    await server.start()


async def copy(folder: Path, to: Path) -> None:
    """With owners and modes, which PostgreSQL looks at."""
    process = await asyncio.create_subprocess_exec("cp", "-a", folder, to)
    assert await process.wait() == 0


async def test_restored_from_an_older_backup(ground: Ground, tmp_path: Path) -> None:
    """Deployers go back to what the database says now, and the revisions that are used again confuse nobody."""
    cluster, person = ground.cluster, ground.person
    await back_up(ground.server, tmp_path / "backup")
    truth = await read_truth(cluster.database_url)
    await person.set_threshold("everywhere", 95)
    await person.create("of-g1", group_scope("g1"), 70)
    await cluster.converged()
    assert not await ground.runs(truth.files, truth.rules)

    await restore(ground.server, tmp_path / "backup")
    await wait_for(lambda: ground.runs(truth.files, truth.rules), CONVERGE, every=0.1)
    # the same numbers, another story
    again = Person(cluster.replicas, random.Random(2))
    await again.set_threshold("everywhere", 60)
    await again.set_threshold("of-g0", 50)
    await cluster.converged()
    assert await again.lost(cluster.database_url) == []


async def test_restored_while_the_services_were_down_and_edited_beyond(ground: Ground, tmp_path: Path) -> None:
    """Nobody has seen the revision go back: it is higher again when the first one looks."""
    cluster, person = ground.cluster, ground.person
    await back_up(ground.server, tmp_path / "backup")
    await person.set_threshold("everywhere", 95)
    await cluster.converged()
    (deployer,) = cluster.deployers
    await deployer.child.stop()
    for replica in cluster.replicas:
        await replica.child.stop()
    await restore(ground.server, tmp_path / "backup")
    for replica in cluster.replicas:
        await replica.start()
    again = Person(cluster.replicas, random.Random(2))
    for threshold in (50, 40, 30):
        await again.set_threshold("of-g0", threshold)
    await deployer.start()
    await cluster.converged()
    assert "> 90" in (await deployer.running_exprs())["everywhere"]
    assert await again.lost(cluster.database_url) == []


async def test_restored_from_a_backup_that_knows_less_than_half_silences_nothing(
    ground: Ground, tmp_path: Path
) -> None:
    """What the backup does not know goes on running until somebody says so; what it knows is as it says."""
    cluster, person = ground.cluster, ground.person
    await back_up(ground.server, tmp_path / "backup")
    known = await read_truth(cluster.database_url)
    for group in GROUPS[1:]:
        await person.create(f"of-{group}", group_scope(group), 70)
    await cluster.converged()
    before = await read_truth(cluster.database_url)
    for replica in cluster.replicas:
        await replica.child.stop()
    await restore(ground.server, tmp_path / "backup")
    for replica in cluster.replicas:
        await replica.start()

    async def refused() -> bool:
        outcomes = await ground.outcomes()
        return {f"group-{group}.yml" for group in GROUPS[1:]} == outcomes.keys() and all(
            (outcome.state, outcome.reason) == (common_pb2.Rollout.REJECTED, Reason.MASS_DELETION)
            for outcome in outcomes.values()
        )

    await wait_for(refused, CONVERGE, every=0.1)
    assert await ground.runs({**before.files, **known.files}, {**before.rules, **known.rules})


async def test_emptied_by_mistake(ground: Ground) -> None:
    """A database without a single rule, at the same address: every alert stays loaded, and the outcome says why."""
    cluster, person = ground.cluster, ground.person
    for group in GROUPS[1:3]:
        await person.create(f"of-{group}", group_scope(group), 70)
    await cluster.converged()
    before = await read_truth(cluster.database_url)
    connection = await asyncpg.connect(cluster.database_url)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public;")
    finally:
        await connection.close()
    for replica in cluster.replicas:
        await replica.child.stop()
        await replica.start()

    async def refused() -> bool:
        states = {(outcome.state, outcome.reason) for outcome in (await ground.outcomes()).values()}
        return states == {(common_pb2.Rollout.REJECTED, Reason.MASS_DELETION)}

    await wait_for(refused, CONVERGE, every=0.1)
    assert await ground.runs(before.files, before.rules)

    # what is made anew is delivered, and all else goes on as it is
    await make_groups(cluster, "g0")
    again = Person(cluster.replicas, random.Random(2))
    await again.create("of-g0", group_scope("g0"), 10)
    after = await read_truth(cluster.database_url)
    await wait_for(
        lambda: ground.runs({**before.files, **after.files}, {**before.rules, **after.rules}), CONVERGE, every=0.1
    )
    assert await contradictions(cluster.database_url) == []
