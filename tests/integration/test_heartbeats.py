"""What is heard of targets: shown, filtered by, gone stale, and without any trace in the history."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from rule_service.changelog.prune import Pruner
from rule_service.domain.model import Exporter, Target
from rule_service.domain.status import TargetStatus
from rule_service.store.heartbeats import PostgresHeartbeats
from rule_service.store.pool import Database
from rule_service.usecases.filters import ScrapeFilter, TargetFilter
from rule_service.usecases.heartbeats import TargetHeartbeats
from rule_service.usecases.ports_heartbeats import Heard
from tests.support.edits import DO, Edits
from tests.support.store import open_database

FIVE_MINUTES = timedelta(minutes=5)
UP, DOWN, MAINTENANCE, UNKNOWN, STALE = TargetStatus
IDS = ("t1", "t2", "t3", "t4", "t5")


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        yield pool


@pytest_asyncio.fixture
async def edits(pool: Database) -> Edits:
    """Five targets of which nobody has heard."""
    edits = Edits(pool, None)
    for id in IDS:
        await edits.targets.create(Target(id, f"{id}.example.com", id, exporters=(Exporter("node", 9100),)), DO)
    return edits


@pytest.fixture
def heartbeats(pool: Database) -> TargetHeartbeats:
    return TargetHeartbeats(PostgresHeartbeats(pool), FIVE_MINUTES)


async def heard(edits: Edits, heartbeats: TargetHeartbeats, *ids: str) -> list[Heard]:
    records = await edits.store.resources_by_id(Target, ids)
    return [each.heard for each in await heartbeats.shown([records[id] for id in ids])]


async def statuses(edits: Edits, heartbeats: TargetHeartbeats, *ids: str) -> list[TargetStatus]:
    return [each.status for each in await heard(edits, heartbeats, *ids)]


async def age(pool: Database, id: str, by: timedelta) -> None:
    async with pool.session() as session:
        await session.run("UPDATE target_heartbeats SET seen_at = seen_at - $2::interval WHERE target_id = $1", id, by)


async def test_a_target_is_what_was_said_of_it_last(edits: Edits, heartbeats: TargetHeartbeats) -> None:
    assert await heard(edits, heartbeats, "t1") == [Heard(UNKNOWN, None)]
    assert await heartbeats.report([("t1", None), ("t2", DOWN), ("t3", MAINTENANCE), ("t4", UNKNOWN)]) == ()
    assert await statuses(edits, heartbeats, *IDS) == [UP, DOWN, MAINTENANCE, UNKNOWN, UNKNOWN]
    first = await heard(edits, heartbeats, "t2", "t5")
    # a sign of life says nothing about how it is
    await heartbeats.report([("t2", None), ("t3", UP), ("t3", DOWN)])
    assert await statuses(edits, heartbeats, "t2", "t3") == [DOWN, DOWN]
    second = await heard(edits, heartbeats, "t2", "t5")
    assert first[0].seen_at is not None
    assert second[0].seen_at is not None
    assert second[0].seen_at > first[0].seen_at
    assert second[1].seen_at is None


async def test_it_goes_stale_when_nobody_says_anything(
    edits: Edits, heartbeats: TargetHeartbeats, pool: Database
) -> None:
    await heartbeats.report([("t1", UP), ("t2", UP), ("t3", MAINTENANCE)])
    await age(pool, "t2", FIVE_MINUTES - timedelta(minutes=1))
    await age(pool, "t3", FIVE_MINUTES)
    assert await statuses(edits, heartbeats, "t1", "t2", "t3") == [UP, UP, STALE]
    await heartbeats.report([("t3", None)])
    assert await statuses(edits, heartbeats, "t3") == [MAINTENANCE]


async def test_no_revision_is_made_and_no_etag_changes(edits: Edits, heartbeats: TargetHeartbeats) -> None:
    before, record = await edits.store.revision(), await edits.store.target("t1")
    assert record is not None
    await heartbeats.report([("t1", DOWN)])
    assert await edits.store.revision() == before
    assert await edits.store.target("t1") == record
    await edits.targets.update("t1", record.etag, lambda current: current.value, DO)


async def test_what_no_target_has_is_said_and_the_rest_is_taken(edits: Edits, heartbeats: TargetHeartbeats) -> None:
    await edits.targets.delete("t2", "", DO)
    assert await heartbeats.report([("zzz", UP), ("t1", UP), ("t2", UP), ("aaa", None)]) == ("zzz", "t2", "aaa")
    assert await statuses(edits, heartbeats, "t1", "t2") == [UP, UNKNOWN]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({UP}, ["t1"]),
        ({DOWN}, ["t2"]),
        ({STALE}, ["t3"]),
        ({UNKNOWN}, ["t4", "t5"]),
        ({UP, UNKNOWN}, ["t1", "t4", "t5"]),
        ({DOWN, STALE}, ["t2", "t3"]),
        ({MAINTENANCE}, []),
        (set(TargetStatus), list(IDS)),
        (set(), list(IDS)),
    ],
)
async def test_targets_are_found_and_discovered_by_status(
    edits: Edits, heartbeats: TargetHeartbeats, pool: Database, wanted: set[TargetStatus], ids: list[str]
) -> None:
    await heartbeats.report([("t1", UP), ("t2", DOWN), ("t3", MAINTENANCE), ("t5", UNKNOWN)])
    await age(pool, "t3", FIVE_MINUTES)
    where = heartbeats.filter(wanted)
    for deleted in (False, True):
        page = await edits.store.targets("", 9, TargetFilter(status=where, show_deleted=deleted))
        assert [record.value.id for record in page.items] == ids
    found = await edits.store.placed_targets(ScrapeFilter(status=where))
    assert [each.target.id for each in found] == ids


async def test_a_deleted_target_keeps_what_was_heard_until_it_is_purged(
    edits: Edits, heartbeats: TargetHeartbeats, pool: Database
) -> None:
    await heartbeats.report([("t1", DOWN), ("t2", DOWN)])
    for id in ("t1", "t2"):
        await edits.targets.delete(id, "", DO)
    page = await edits.store.targets("", 9, TargetFilter(status=heartbeats.filter([DOWN]), show_deleted=True))
    assert [record.value.id for record in page.items] == ["t1", "t2"]
    await edits.targets.undelete("t1", "", DO)
    assert await statuses(edits, heartbeats, "t1", "t2") == [DOWN, DOWN]
    await edits.targets.delete("t1", "", DO)
    await edits.targets.purge("t1", "", DO)
    assert await Pruner(pool, FIVE_MINUTES, timedelta(0)).purge() == 1
    for id in ("t1", "t2"):
        await edits.targets.create(Target(id, id), DO)
    assert await statuses(edits, heartbeats, "t1", "t2") == [UNKNOWN, UNKNOWN]


async def test_batches_of_a_thousand_at_once_in_any_order(
    edits: Edits, heartbeats: TargetHeartbeats, pool: Database
) -> None:
    async with pool.session() as session:
        await session.run(
            """
            INSERT INTO targets SELECT 'n' || n, hostname, address, labels, exporters, revision, created_at, updated_at
            FROM targets, generate_series(1, 1000) AS n WHERE id = 't1'
            """
        )
    ids = [f"n{number}" for number in range(1, 1001)]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(heartbeats.report([(id, status) for id in order]), name=status.value)
            for status, order in ((UP, ids), (DOWN, ids[::-1]), (UP, ids[500:] + ids[:500]), (DOWN, ids[::3] + ids))
        ]
    assert [task.result() for task in running] == [()] * 4
    assert set(await statuses(edits, heartbeats, *ids)) <= {UP, DOWN}
