"""Random edits, kills, cuts and restarts of the whole system, and what must hold of it whenever they are over."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from rulecast.v1 import common_pb2
from tests.support.cluster import Cluster, make_groups, running_cluster
from tests.support.freezing import frozen
from tests.support.person import Person
from tests.support.postgres import fresh_database, make_template
from tests.support.proxy import Proxy, listens
from tests.support.system import Deployer, Replica, global_scope, group_scope
from tests.support.truth import contradictions, every_version
from tests.support.watcher import watching

T = TypeVar("T")

GROUPS = ("g0", "g1", "g2", "g3")
KEYS = ("cpu", "memory")
EVERYWHERE = ""
LASTING = {"global.yml": ["lasting"]}
STEP = 170.0
"""Seconds that one step may take: an edit goes on until it is answered."""
MOMENTS = st.integers(0, 300)
"""Milliseconds after the beginning of an edit."""


class Ground:
    """The system, which lives in the event loop of the test; the state machine runs in a thread beside it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: PostgresServer, cluster: Cluster) -> None:
        self._loop = loop
        self._server = server
        self.cluster = cluster
        self.person = Person(cluster.replicas, random.Random(1))
        self.numbers = itertools.count(1)
        self.live: dict[tuple[str, str], str] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP)

    def at_once(self, work: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(work)

    def number(self) -> float:
        """A threshold that no rule has had."""
        return float(next(self.numbers))

    async def create(self, key: str, group: str) -> None:
        id = f"rule-{next(self.numbers)}"
        await self.person.create(id, scope_of(group), self.number(), key=key)
        self.live[key, group] = id

    async def delete(self, place: tuple[str, str]) -> None:
        await self.person.delete(self.live[place])
        del self.live[place]

    async def change(self, place: tuple[str, str]) -> None:
        await self.person.set_threshold(self.live[place], self.number())

    async def during_an_edit(self, moment: int, fault: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.person.set_threshold("lasting", self.number()), name="edit")
            await asyncio.sleep(moment / 1000)
            await fault()

    async def kill(self, victim: Replica | Deployer) -> None:
        victim.child.kill()
        victim.child.start()

    async def restart(self, victim: Replica | Deployer) -> None:
        await victim.child.stop()
        victim.child.start()

    async def freeze(self, victim: Replica | Deployer, seconds: float) -> None:
        async with frozen(victim.child.pid):
            await asyncio.sleep(seconds)

    async def crash_database(self) -> None:
        await self._server.crash()
        await self._server.start()

    async def kill_database(self) -> None:
        self._server.kill()
        await self._server.start()

    async def cut(self, proxy: Proxy) -> None:
        proxy.cut()

    async def come_to_rest(self) -> None:
        """Heals all, and checks that nothing is missing. Then takes the rules away again, for the next example."""
        await self.cluster.heal()
        await self.cluster.converged()
        assert await self.person.lost(self.cluster.database_url) == []
        assert {id for id, threshold in self.person.last().items() if threshold is not None} == {
            "lasting",
            *self.live.values(),
        }
        await asyncio.gather(*(self.delete(place) for place in list(self.live)))
        for group in reversed(GROUPS):
            await self.person.move(group, "")


def scope_of(group: str) -> common_pb2.Scope:
    return group_scope(group) if group else global_scope()


def machine_of(ground: Ground) -> type[RuleBasedStateMachine]:
    cluster = ground.cluster
    services: tuple[Replica | Deployer, ...] = (*cluster.replicas, *cluster.deployers)
    victims = st.sampled_from(range(len(services)))
    proxies = cluster.proxies()
    links = [link for each in cluster.links for link in each]

    class Machine(RuleBasedStateMachine):
        @rule(key=st.sampled_from(KEYS), group=st.sampled_from((EVERYWHERE, *GROUPS)))
        def create_or_change(self, key: str, group: str) -> None:
            place = (key, group)
            ground.do(ground.change(place) if place in ground.live else ground.create(*place))

        @precondition(lambda _: bool(ground.live))
        @rule(data=st.data(), enabled=st.booleans())
        def enable(self, data: st.DataObject, enabled: bool) -> None:
            place = data.draw(st.sampled_from(sorted(ground.live)))
            ground.do(ground.person.enable(ground.live[place], enabled))

        @precondition(lambda _: bool(ground.live))
        @rule(data=st.data())
        def delete(self, data: st.DataObject) -> None:
            ground.do(ground.delete(data.draw(st.sampled_from(sorted(ground.live)))))

        @rule(child=st.integers(1, len(GROUPS) - 1), parent=st.integers(0, len(GROUPS) - 1))
        def move(self, child: int, parent: int) -> None:
            """Only below one that comes before it, so that there is no circle."""
            ground.do(ground.person.move(GROUPS[child], GROUPS[parent] if parent < child else ""))

        @rule(victim=victims, moment=MOMENTS)
        def kill(self, victim: int, moment: int) -> None:
            ground.do(ground.during_an_edit(moment, lambda: ground.kill(services[victim])))

        @rule(victim=victims, moment=MOMENTS)
        def restart(self, victim: int, moment: int) -> None:
            ground.do(ground.during_an_edit(moment, lambda: ground.restart(services[victim])))

        @rule(victim=victims, moment=MOMENTS, seconds=st.sampled_from((0.1, 1.0, 4.0)))
        def freeze(self, victim: int, moment: int, seconds: float) -> None:
            """4 s are more than the three heartbeats after which a stream is given up."""
            ground.do(ground.during_an_edit(moment, lambda: ground.freeze(services[victim], seconds)))

        @rule(proxy=st.sampled_from(range(len(proxies))), moment=MOMENTS)
        def cut(self, proxy: int, moment: int) -> None:
            ground.do(ground.during_an_edit(moment, lambda: ground.cut(proxies[proxy])))

        @rule(link=st.sampled_from(range(len(links))), size=st.integers(1, 2000))
        def cut_in_the_middle(self, link: int, size: int) -> None:
            ground.at_once(lambda: links[link].cut_within(size))

        @rule(link=st.sampled_from(range(len(links))))
        def silence_a_stream(self, link: int) -> None:
            ground.at_once(links[link].freeze)

        @rule(link=st.sampled_from(range(len(links))))
        def end_the_silence(self, link: int) -> None:
            ground.at_once(links[link].thaw)

        @rule(at=st.sampled_from(range(len(cluster.databases))))
        def silence_the_notifications(self, at: int) -> None:
            ground.at_once(lambda: cluster.databases[at].freeze(listens))

        @rule(moment=MOMENTS, end=st.sampled_from((ground.crash_database, ground.kill_database)))
        def end_the_database(self, moment: int, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
            ground.do(ground.during_an_edit(moment, end))

        @invariant()
        def the_database_agrees_with_itself(self) -> None:
            assert ground.do(contradictions(cluster.database_url)) == []

        def teardown(self) -> None:
            ground.do(ground.come_to_rest())

    return Machine


async def run_machine(folder: Path, parts: PrometheusParts, *, examples: int, steps: int, fixed: bool) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=fixed,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # a failure is not shrunk: that would take hours, and happen at other moments
        suppress_health_check=list(HealthCheck),
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(PostgresServer(folder / "data", log=folder / "postgres.log", durable=False))
        await make_template(server)
        database = await enter(fresh_database(server))
        cluster = await enter(running_cluster(folder, database, parts))
        await make_groups(cluster, *GROUPS)
        ground = Ground(asyncio.get_running_loop(), server, cluster)
        await ground.person.create("lasting", global_scope(), ground.number(), key="lasting")
        await cluster.converged()
        folders = [deployer.rules for deployer in cluster.deployers]
        async with watching(folder / "watcher.log", folders, LASTING) as sights:
            await asyncio.to_thread(run_state_machine_as_test, machine_of(ground), settings=chosen)
        (sight,) = sights
        assert (sight.torn, sight.absent) == ([], [])
        assert sight.unknown(await every_version(database)) == []


async def test_whatever_happens_everything_is_as_it_should_be_in_the_end(
    tmp_path: Path, prometheus_parts: PrometheusParts
) -> None:
    await run_machine(tmp_path, prometheus_parts, examples=3, steps=15, fixed=True)


@pytest.mark.prove
@pytest.mark.timeout(3600)
async def test_the_same_for_much_longer(tmp_path: Path, prometheus_parts: PrometheusParts) -> None:
    await run_machine(tmp_path, prometheus_parts, examples=40, steps=40, fixed=False)
