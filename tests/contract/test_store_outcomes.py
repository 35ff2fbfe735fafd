"""Outcomes of many deployers at once: few statements, and each deployer by itself all the same."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import asyncpg
import pytest

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import GroupScope
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.outcomes import AT_ONCE, FEW, OUTCOMES, OutcomeRecords, Report
from rule_service.store.pool import Database, Session
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.ports_delivery import HelloFacts
from rule_service.usecases.ports_fates import FateState, FileFate
from rulecast.errors import Conflict, InvalidInput
from rulecast.reasons import Reason
from tests.support.store import open_database, publish
from tests.support.waiting import wait_for

HELLO = HelloFacts("dep-000", b"p" * 16, "1.0", "3.1.0", "", ())
HASH, SHA = b"h" * 32, b"s" * 32
REJECTED = FileFate("group-prod.yml", SHA, FateState.REJECTED, "PROMTOOL_CHECK_FAILED", "bad query")
ACTIVE = FileFate("group-prod.yml", SHA, FateState.ACTIVE)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        yield pool


@pytest.fixture
def store(pool: Database) -> PostgresStore:
    return PostgresStore(pool)


@pytest.fixture
def deployers(pool: Database) -> PostgresDeployers:
    return PostgresDeployers(pool)


async def claimed(deployers: PostgresDeployers, count: int) -> list[str]:
    """So many deployers, each in its first epoch."""
    ids = [f"dep-{number:03d}" for number in range(count)]
    for id in ids:
        await deployers.claim(replace(HELLO, id=id), "replica-a", 30.0)
    return ids


async def all_at_once(
    deployers: PostgresDeployers, fates: Mapping[str, Sequence[FileFate]]
) -> dict[str, BaseException | None]:
    """What each was told."""
    told = await asyncio.gather(
        *(deployers.record_outcomes(id, 1, 7, HASH, of_one) for id, of_one in fates.items()),
        return_exceptions=True,
    )
    return dict(zip(fates, told, strict=True))


async def published(store: PostgresStore, *groups: str) -> None:
    """The files of these groups: what is said of one that is not there is not kept."""
    await publish(store, *((GroupScope(id), RuleFile(f"group-{id}.yml", b"a", 1)) for id in groups))


async def recorded(store: PostgresStore) -> dict[str, tuple[int, dict[str, FateState]]]:
    return {
        facts.id: (facts.revision, {fate.file_name: fate.state for fate in facts.fates})
        for facts in await store.deployers()
    }


async def test_each_has_its_own_outcomes(store: PostgresStore, deployers: PostgresDeployers) -> None:
    ids = await claimed(deployers, 30)
    await published(store, "prod", "lab")
    other = FileFate("group-lab.yml", b"t" * 32, FateState.ROLLED_BACK, "RELOAD_FAILED", "no")
    fates: dict[str, Sequence[FileFate]] = {
        id: ([], [REJECTED], [REJECTED, other], [ACTIVE])[at % 4] for at, id in enumerate(ids)
    }
    assert set((await all_at_once(deployers, fates)).values()) == {None}
    rejected = {"group-prod.yml": FateState.REJECTED}
    both = {"group-lab.yml": FateState.ROLLED_BACK, "group-prod.yml": FateState.REJECTED}
    trouble = {1: rejected, 2: both}
    assert await recorded(store) == {id: (7, trouble.get(at % 4, {})) for at, id in enumerate(ids)}
    # what is ACTIVE is forgotten for those alone who say so
    await all_at_once(deployers, {id: [ACTIVE] if at % 2 else [] for at, id in enumerate(ids)})
    assert await recorded(store) == {id: (7, both if at % 4 == 2 else {}) for at, id in enumerate(ids)}


async def test_who_answers_at_once_is_one_wake_for_those_who_wait(
    database: str, store: PostgresStore, deployers: PostgresDeployers
) -> None:
    ids = await claimed(deployers, 4 * AT_ONCE)
    heard: list[object] = []
    connection = await asyncpg.connect(database)
    try:
        await connection.add_listener(OUTCOMES, lambda *told: heard.append(told[-1]))
        told = await all_at_once(deployers, {id: [] for id in ids})
        # answered after what was notified before
        await connection.execute("SELECT")
    finally:
        await connection.close()
    assert set(told.values()) == {None}
    assert {revision for revision, _ in (await recorded(store)).values()} == {7}
    assert 1 <= len(heard) <= 6
    assert set(heard) == {""}


async def test_an_epoch_that_is_over_is_told_to_that_one_alone(
    store: PostgresStore, deployers: PostgresDeployers
) -> None:
    ids = await claimed(deployers, 12)
    await published(store, "prod")
    await deployers.claim(replace(HELLO, id=ids[5]), "replica-b", 30.0)
    told = await all_at_once(deployers, {id: [REJECTED] for id in ids} | {"nobody": []})
    for id in (ids[5], "nobody"):
        refused = told.pop(id)
        assert isinstance(refused, Conflict)
        assert refused.reason is Reason.STALE_EPOCH
    assert set(told.values()) == {None}
    found = await recorded(store)
    assert found.pop(ids[5]) == (0, {})
    assert list(found.values()) == [(7, {"group-prod.yml": FateState.REJECTED})] * 11


async def test_what_the_database_can_not_hold_fails_by_itself(
    store: PostgresStore, deployers: PostgresDeployers
) -> None:
    ids = await claimed(deployers, 12)
    bad = replace(REJECTED, message="no\x00 text")
    told = await all_at_once(deployers, {id: [bad] if id == ids[7] else [REJECTED] for id in ids})
    assert isinstance(told.pop(ids[7]), InvalidInput)
    assert set(told.values()) == {None}
    found = await recorded(store)
    assert found.pop(ids[7]) == (0, {})
    assert {revision for revision, _ in found.values()} == {7}


async def test_a_row_that_is_in_use_keeps_nobody_else_waiting(
    store: PostgresStore, deployers: PostgresDeployers, pool: Database
) -> None:
    ids = await claimed(deployers, 12)
    async with asyncio.TaskGroup() as tasks, pool.transaction() as session:
        await session.run("UPDATE deployers SET replica = 'slow' WHERE id = $1", ids[3])
        told = tasks.create_task(all_at_once(deployers, {id: [] for id in ids}), name="answers")

        async def others_recorded() -> bool:
            found = await recorded(store)
            return {revision for id, (revision, _) in found.items() if id != ids[3]} == {7}

        await wait_for(others_recorded)
        assert not told.done()
    assert set(told.result().values()) == {None}
    assert (await recorded(store))[ids[3]][0] == 7


async def test_two_answers_of_one_deployer_are_recorded_in_their_order(
    store: PostgresStore, deployers: PostgresDeployers, pool: Database
) -> None:
    (id,) = await claimed(deployers, 1)
    records = OutcomeRecords(pool)
    reports = [Report(id, 1, revision, HASH, ()) for revision in (4, 5, 6)]
    assert await asyncio.gather(*map(records.record, reports)) == [True] * 3
    assert (await recorded(store))[id][0] == 6


async def test_one_with_very_many_fates(store: PostgresStore, deployers: PostgresDeployers) -> None:
    ids = await claimed(deployers, 3)
    await published(store, *(f"g{number}" for number in range(FEW + 1)))
    many = [replace(REJECTED, file_name=f"group-g{number}.yml") for number in range(FEW + 1)]
    told = await all_at_once(deployers, {ids[0]: [], ids[1]: many, ids[2]: []})
    assert set(told.values()) == {None}
    assert [len(fates) for _, fates in (await recorded(store)).values()] == [0, FEW + 1, 0]


async def test_one_whose_stream_ends_takes_no_other_with_it(
    store: PostgresStore, deployers: PostgresDeployers, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of a statement is the one that runs it."""
    ids = await claimed(deployers, 6)
    held, go_on, rows = asyncio.Event(), asyncio.Event(), Session.rows

    async def slow(session: Session, sql: str, *args: object) -> object:
        held.set()
        await go_on.wait()
        return await rows(session, sql, *args)

    monkeypatch.setattr(Session, "rows", slow)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(deployers.record_outcomes(ids[0], 1, 7, HASH, []), name="first")
        await held.wait()
        leader, *others = [tasks.create_task(deployers.record_outcomes(id, 1, 7, HASH, []), name=id) for id in ids[1:]]
        await wait_for(lambda: (group := deployers._outcomes._gathered) is not None and len(group.reports) == 5)
        leader.cancel()
        await asyncio.wait([leader])
        go_on.set()
    assert leader.cancelled()
    assert all(task.exception() is None for task in (first, *others))
    monkeypatch.undo()
    found = await recorded(store)
    assert [found[id][0] for id in ids] == [7, 0, 7, 7, 7, 7]
