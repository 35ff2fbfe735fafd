"""Connections that are cut, slow or silent: those of the deployers to the rule services, and those to the database."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from tests.support.cluster import CONVERGE, Cluster, make_groups, running_cluster, running_rules
from tests.support.person import Person
from tests.support.postgres import fresh_database
from tests.support.proxy import Proxy, listens
from tests.support.system import group_scope
from tests.support.truth import read_truth
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = ("first", "second")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, prometheus_parts: PrometheusParts
) -> AsyncIterator[Cluster]:
    """Two replicas and two deployers, and a rule in each of two groups."""
    folder = tmp_path_factory.mktemp("stream")
    async with (
        fresh_database(postgres_server) as database,
        running_cluster(folder, database, prometheus_parts) as cluster,
    ):
        await make_groups(cluster, *RULES)
        person = Person(cluster.replicas, random.Random(1))
        for rule in RULES:
            await person.create(rule, group_scope(rule), 1)
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Cluster) -> AsyncIterator[Cluster]:
    """With everything well at the start, and healed at the end."""
    await running.converged()
    yield running
    await running.heal()


@pytest_asyncio.fixture(loop_scope="module")
async def person(cluster: Cluster) -> AsyncIterator[Person]:
    """What this person was told is done is there in the end, everywhere."""
    person = Person(cluster.replicas, random.Random(2))
    yield person
    await cluster.heal()
    await cluster.converged()
    assert await person.lost(cluster.database_url) == []


_values = iter(range(100, 10**6))


def another() -> float:
    """A threshold that no rule has had."""
    return float(next(_values))


async def arrived(cluster: Cluster, at: int) -> None:
    """Waits until the deployer's Prometheus runs what the database says."""

    async def runs_it() -> bool:
        truth = await read_truth(cluster.database_url)
        return cluster.deployers[at].files() == truth.files and (
            await running_rules(cluster.deployers[at]) == truth.rules
        )

    await wait_for(runs_it, CONVERGE, every=0.1)


def accepted(proxies: Sequence[Proxy]) -> int:
    return sum(proxy.accepted for proxy in proxies)


def took_more_than(proxies: Sequence[Proxy], connections: int) -> bool:
    return accepted(proxies) > connections


async def test_a_slow_stream_is_made_and_delivers(cluster: Cluster, person: Person) -> None:
    """0.3 s in each direction, as on the way around the world."""
    for link in cluster.links[0]:
        link.delay = 0.3
        link.cut()
    await person.set_threshold("first", another())
    await arrived(cluster, 0)


async def test_a_stream_gone_silent_is_left_for_another_replica(cluster: Cluster, person: Person) -> None:
    before = await cluster.serving_replica_of(0)
    cluster.links[0][before].freeze()
    await person.set_threshold("first", another())
    await arrived(cluster, 0)
    assert await cluster.serving_replica_of(0) != before
    # what was held for so long comes out now, and is nobody's business any more
    cluster.links[0][before].thaw()
    await person.set_threshold("first", another())
    await arrived(cluster, 0)


async def test_a_deployer_that_reaches_nobody_keeps_its_files(cluster: Cluster, person: Person) -> None:
    before = cluster.deployers[0].files()
    for link in cluster.links[0]:
        link.freeze()
    await person.set_threshold("first", another())
    await arrived(cluster, 1)
    await wait_for(partial(cluster.is_alone, 0), CONVERGE)
    assert cluster.deployers[0].files() == before
    for link in cluster.links[0]:
        link.thaw()
    await arrived(cluster, 0)


async def test_database_connections_that_are_cut_under_writers(cluster: Cluster, person: Person) -> None:
    async def cut() -> None:
        while True:
            for proxy in cluster.databases:
                proxy.cut()
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as tasks:
        cutting = tasks.create_task(cut(), name="cut")
        async with asyncio.TaskGroup() as writers:
            for rule in RULES:
                writers.create_task(write(person, rule, 8), name=rule)
        cutting.cancel()
    await cluster.converged()


async def write(person: Person, rule: str, times: int) -> None:
    for _ in range(times):
        await person.set_threshold(rule, another())


async def test_a_slow_database_only_slows_down(cluster: Cluster, person: Person) -> None:
    for proxy in cluster.databases:
        proxy.delay = 0.02
    await person.set_threshold("first", another())
    await arrived(cluster, 0)
    await arrived(cluster, 1)


async def test_a_silent_database_fails_the_edit_and_is_forgiven(cluster: Cluster, person: Person) -> None:
    """The replica that has lost its database tells so in time; through the other one the edit is made."""
    cluster.databases[0].freeze()
    one = Person(cluster.replicas[:1], random.Random(3))
    other = Person(cluster.replicas[1:], random.Random(3))
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(one.set_threshold("second", another()), name="edit")
        await wait_for(lambda: one.tries > 0)
        await other.set_threshold("first", another())
        cluster.databases[0].thaw()
        await waiting
    person.acknowledged += [*one.acknowledged, *other.acknowledged]
    await cluster.converged()


async def test_a_half_open_listening_connection_costs_a_poll_and_no_change(cluster: Cluster, person: Person) -> None:
    before = [accepted([proxy]) for proxy in cluster.databases]
    for proxy in cluster.databases:
        proxy.freeze(listens)
    await person.set_threshold("first", another())
    await arrived(cluster, 0)
    await arrived(cluster, 1)
    # the silence is noticed, and listening begun anew
    for proxy, connections in zip(cluster.databases, before, strict=True):
        await wait_for(partial(took_more_than, [proxy], connections), CONVERGE)
    await person.set_threshold("first", another())
    await arrived(cluster, 0)


@asynccontextmanager
async def without_notifications(cluster: Cluster) -> AsyncIterator[None]:
    """Meanwhile `pg_notify` of the database is a function that does nothing."""
    connection = await asyncpg.connect(cluster.database_url)
    name = await connection.fetchval("SELECT current_database()")
    try:
        await connection.execute(
            f"""
            CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS '';
            ALTER DATABASE {name} SET search_path = public, pg_catalog;
            """
        )
        for proxy in cluster.databases:
            proxy.cut()
        yield
    finally:
        await connection.execute(
            f"ALTER DATABASE {name} RESET search_path; DROP FUNCTION public.pg_notify(text, text);"
        )
        await connection.close()
        for proxy in cluster.databases:
            proxy.cut()


async def test_without_any_notification_the_polls_find_every_edit(cluster: Cluster, person: Person) -> None:
    async with without_notifications(cluster):
        deaf = await asyncpg.connect(cluster.database_url)
        heard: list[object] = []
        try:
            await deaf.add_listener("rulecast_changes", lambda *said: heard.append(said))
            for _ in range(3):
                await person.set_threshold("first", another())
                await arrived(cluster, 0)
                await arrived(cluster, 1)
            await cluster.converged()
        finally:
            await deaf.close()
    assert heard == []


# Last, since a deployer whose streams are cut waits longer and longer.


async def test_streams_that_are_cut_again_and_again(cluster: Cluster, person: Person) -> None:
    for _ in range(5):
        for links in cluster.links:
            for link in links:
                link.cut()
        await asyncio.gather(*(person.set_threshold(rule, another()) for rule in RULES))
    await cluster.converged()


async def test_a_stream_that_is_cut_in_the_middle_of_an_update(cluster: Cluster, person: Person) -> None:
    """An Update is some 1000 bytes here, with the frames around it."""
    for size in (12, 600):
        served_by = await cluster.serving_replica_of(0)
        link = cluster.links[0][served_by]
        connections = accepted(cluster.links[0])
        link.cut_within(size)
        await person.set_threshold("first", another())
        await arrived(cluster, 0)
        # of what is left, heartbeats take the last bytes
        await wait_for(partial(took_more_than, cluster.links[0], connections), CONVERGE)
