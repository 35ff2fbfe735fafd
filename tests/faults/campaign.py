"""Kills rule services and deployers at random moments under a steady stream of edits, and counts what that costs.

`python -m tests.faults.campaign --kills 300` runs two replicas, and two deployers each beside a Prometheus of its own,
on real processes. It ends with code 1 if an acknowledged edit was lost, a file was torn, or it did not converge.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from tests.support.cluster import Cluster, make_groups, missed_evaluations, reloads, running_cluster
from tests.support.person import Person
from tests.support.postgres import fresh_database, make_template
from tests.support.prometheus import parts_of
from tests.support.system import Deployer, Replica, global_scope, group_scope
from tests.support.truth import contradictions, every_version
from tests.support.watcher import Sight, watching

GROUPS = ("one", "two", "three", "four")
LASTING = {"global.yml": ["everywhere"], "group-one.yml": ["in-one"]}
"""What is edited, but never taken away."""
WRITERS = 3
SECONDS_PER_KILL = 6.0
"""So long may a kill take, with the restart, before the whole takes too long."""
TO_CONVERGE = 180.0
"""Seconds from the last kill: a lease, the longest pause before a deployer connects again, and a loaded machine."""


@dataclass(frozen=True)
class Figures:
    """kills: by process. dropped: what had to be on disk, or in Prometheus, and was not. missed: evaluations."""

    seed: int
    kills: dict[str, int]
    acknowledged: int
    tries: int
    lost: list[str]
    reads: int
    torn: list[str]
    dropped: list[str]
    contradictions: list[str]
    missed: float
    reloads: int
    converged_after: float | None
    seconds: float

    @property
    def well(self) -> bool:
        return self.converged_after is not None and not (
            self.lost or self.torn or self.dropped or self.contradictions or self.missed
        )

    def __str__(self) -> str:
        after = "not converged" if self.converged_after is None else f"{self.converged_after:.1f} s"
        lines = {
            "seed": str(self.seed),
            "kill -9": f"{sum(self.kills.values())} ({', '.join(f'{name} {n}' for name, n in self.kills.items())})",
            "edits acknowledged": f"{self.acknowledged} ({self.tries} tries)",
            "edits lost": _told(self.lost),
            "files read": str(self.reads),
            "files torn": _told(self.torn),
            "coverage drops": _told(self.dropped),
            "contradictions in the database": _told(self.contradictions),
            "rule evaluations missed": f"{self.missed:g}",
            "reloads": str(self.reloads),
            "converged after": after,
            "took": f"{self.seconds:.0f} s",
        }
        return "\n".join(f"{name + ':':<33}{value}" for name, value in lines.items())


def _told(found: Sequence[str]) -> str:
    return "\n  ".join([str(len(found)), *found[:5]])


class Writer:
    """Edits rules of its own, at most one at each group, one edit after the other until told to stop.

    The first writer's are of one alert with the lasting rules, so that most of its edits change several files.
    """

    def __init__(self, cluster: Cluster, source: random.Random, number: int) -> None:
        self.person = Person(cluster.replicas, source)
        self._source = source
        self._number = number
        self._key = "cpu" if number == 0 else f"key-{number}"
        self._serial = itertools.count(number * 10**6)
        self._live: dict[str, str] = {}

    async def prepare(self) -> None:
        if self._number == 0:
            for rule, scope in (("everywhere", global_scope()), ("in-one", group_scope("one"))):
                await self.person.create(rule, scope, self._threshold())

    async def edit_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self._edit(self._source.choice(GROUPS))

    async def _edit(self, group: str) -> None:
        if group == "one" and self._number == 0:
            await self.person.set_threshold(self._source.choice(("everywhere", "in-one")), self._threshold())
            return
        rule = self._live.get(group)
        if rule is None:
            # a name of its own each time: a deleted rule keeps its
            rule = self._live[group] = f"rule-{next(self._serial)}"
            await self.person.create(rule, group_scope(group), self._threshold(), key=self._key)
            return
        match self._source.randrange(6):
            case 0:
                await self.person.delete(rule)
                del self._live[group]
            case 1:
                await self.person.enable(rule, self._source.random() < 0.7)
            case _:
                await self.person.set_threshold(rule, self._threshold())

    def _threshold(self) -> float:
        return float(next(self._serial))


class Campaign:
    def __init__(self, cluster: Cluster, kills: int, source: random.Random) -> None:
        self._cluster = cluster
        self._kills = kills
        self._source = source
        self._dropped: list[str] = []
        victims: list[Replica | Deployer] = [*cluster.replicas, *cluster.deployers]
        self._victims = dict(zip(("replica 0", "replica 1", "deployer 0", "deployer 1"), victims, strict=True))
        self.killed = dict.fromkeys(self._victims, 0)

    @property
    def dropped(self) -> list[str]:
        return self._dropped

    async def run(self) -> None:
        """Kills, and starts again at once or a little later, whether the last start was finished or not."""
        for _ in range(self._kills):
            # most at any moment of normal work, some in the middle of a start
            await asyncio.sleep(self._source.choice((self._source.uniform(0, 0.3), self._source.uniform(0.3, 2.5))))
            name = self._source.choice(sorted(self._victims))
            child = self._victims[name].child
            child.kill()
            self.killed[name] += 1
            await asyncio.sleep(self._source.choice((0.0, self._source.uniform(0, 0.5))))
            child.start()

    async def look_at_prometheus(self, done: asyncio.Event) -> None:
        """The lasting rules are loaded whenever Prometheus is asked."""
        lasting = {rule for rules in LASTING.values() for rule in rules}
        while not done.is_set():
            for deployer in self._cluster.deployers:
                missing = lasting - (await deployer.running_exprs()).keys()
                if missing:
                    self._dropped.append(f"{deployer.id}: Prometheus does not run {sorted(missing)}")
            await asyncio.sleep(0.05)


async def campaign(folder: Path, database: str, parts: PrometheusParts, *, kills: int, seed: int) -> Figures:
    """Leaves no process behind. Raises TimeoutError when it takes much longer than so many kills should."""
    began = time.monotonic()
    async with asyncio.timeout(TO_CONVERGE + 120.0 + kills * SECONDS_PER_KILL), AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(folder, database, parts))
        await make_groups(cluster, *GROUPS)
        writers = [Writer(cluster, random.Random(f"{seed} writer {number}"), number) for number in range(WRITERS)]
        for writer in writers:
            await writer.prepare()
        await cluster.converged()
        running = Campaign(cluster, kills, random.Random(f"{seed} kills"))
        sight, converged_after = await _under_edits(folder, cluster, running, writers)
        known = await every_version(database)
        return Figures(
            seed=seed,
            kills=running.killed,
            acknowledged=sum(len(writer.person.acknowledged) for writer in writers),
            tries=sum(writer.person.tries for writer in writers),
            lost=[str(edit) for writer in writers for edit in await writer.person.lost(database)],
            reads=sight.reads,
            torn=[*sight.torn, *(f"nobody has made {version}" for version in sight.unknown(known))],
            dropped=[*sight.absent, *running.dropped],
            contradictions=await contradictions(database),
            missed=sum([await missed_evaluations(deployer) for deployer in cluster.deployers]),
            reloads=sum(reloads(deployer) for deployer in cluster.deployers),
            converged_after=converged_after,
            seconds=time.monotonic() - began,
        )


async def _under_edits(
    folder: Path, cluster: Cluster, running: Campaign, writers: Sequence[Writer]
) -> tuple[Sight, float | None]:
    """What the watcher saw, and how many seconds after the last kill and the last edit all was as it should be."""
    done = asyncio.Event()
    folders = [deployer.rules for deployer in cluster.deployers]
    async with watching(folder / "watcher.log", folders, LASTING) as sights:
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(running.look_at_prometheus(done), name="look at prometheus")
            editing = [
                tasks.create_task(writer.edit_until(done), name=f"writer {number}")
                for number, writer in enumerate(writers)
            ]
            await running.run()
            ended = time.monotonic()
            done.set()
            await asyncio.wait([looking, *editing])
        try:
            await cluster.converged(TO_CONVERGE)
        except AssertionError as error:
            print(error, file=sys.stderr)
            converged_after = None
        else:
            converged_after = time.monotonic() - ended
    return sights[0], converged_after


async def run_alone(kills: int, seed: int) -> Figures:
    """With a PostgreSQL of its own, in a folder that is gone afterwards."""
    parts = parts_of("found")
    with tempfile.TemporaryDirectory(prefix="rulecast-campaign-") as name:
        folder = Path(name)
        async with PostgresServer(folder / "postgres", log=folder / "postgres.log", durable=False) as server:
            await make_template(server)
            async with fresh_database(server) as database:
                return await campaign(folder, database, parts, kills=kills, seed=seed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300, help="how many processes are killed (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the moments and the edits; drawn and printed if left out")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"{arguments.kills} kills, seed {seed}", flush=True)
    figures = asyncio.run(run_alone(arguments.kills, seed))
    print(figures)
    return 0 if figures.well else 1


if __name__ == "__main__":
    sys.exit(main())
