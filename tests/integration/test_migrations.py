"""The ladder of migrations leads to one schema, whoever climbs it and in however many steps."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from deploy.local.postgres import PostgresServer
from rule_service.store import migrate as migrations
from rule_service.store.migrate import LOCK, Migration, SchemaMismatch, apply, load_migrations, migrate
from rulecast.errors import Unavailable
from tests.support.postgres import fresh_database
from tests.support.schema import schema_of
from tests.support.waiting import wait_for

SCHEMA = Path(__file__).with_name("schema.txt")
LADDER = load_migrations()
NEWEST = LADDER[-1].version


@pytest.fixture
async def empty(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The URL of a database with nothing in it."""
    async with fresh_database(postgres_server, template="template0") as url:
        yield url


async def applied(url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch("SELECT * FROM schema_migrations ORDER BY version")]
    finally:
        await connection.close()


async def run(url: str, sql: str, *args: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql, *args)
    finally:
        await connection.close()


async def test_the_ladder_leads_to_the_schema_that_was_reviewed(empty: str, tmp_path: Path) -> None:
    assert await migrate(empty) == NEWEST
    schema = await schema_of(empty)
    found = tmp_path / "schema.txt"
    found.write_text(schema)
    assert schema == SCHEMA.read_text(), f"if the new schema is meant, copy {found} to {SCHEMA.name}"


async def test_each_step_by_itself_leads_there_too(empty: str) -> None:
    for steps in range(1, len(LADDER) + 1):
        assert await apply(empty, LADDER[:steps]) == LADDER[steps - 1].version
    assert await schema_of(empty) == SCHEMA.read_text()


async def test_migrating_again_changes_nothing(empty: str) -> None:
    await migrate(empty)
    before = await applied(empty), await schema_of(empty)
    assert await migrate(empty) == NEWEST
    assert (await applied(empty), await schema_of(empty)) == before


async def test_replicas_that_start_at_once_migrate_once(empty: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        replicas = [tasks.create_task(migrate(empty), name=f"replica {number}") for number in range(6)]
    assert [replica.result() for replica in replicas] == [NEWEST] * 6
    assert [row[0] for row in await applied(empty)] == [migration.version for migration in LADDER]


def test_versions_count_from_one_without_gaps() -> None:
    assert [migration.version for migration in LADDER] == list(range(1, len(LADDER) + 1))


async def test_a_database_that_is_newer_is_refused(empty: str) -> None:
    await apply(empty, [*LADDER, Migration(NEWEST + 1, "future", "SELECT 1")])
    before = await schema_of(empty)
    with pytest.raises(SchemaMismatch, match=rf"version {NEWEST + 1}, this build knows {NEWEST}"):
        await migrate(empty)
    assert await schema_of(empty) == before


async def test_a_step_that_was_changed_afterwards_is_refused(empty: str) -> None:
    await migrate(empty)
    await run(empty, "UPDATE schema_migrations SET checksum = 'other' WHERE version = 2")
    with pytest.raises(SchemaMismatch, match="version 2 \\(alerts\\)"):
        await migrate(empty)


async def test_a_step_that_fails_leaves_nothing_and_can_be_repeated(empty: str) -> None:
    broken = Migration(2, "broken", "CREATE TABLE half (id integer); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply(empty, [LADDER[0], broken])
    assert [row[0] for row in await applied(empty)] == [1]
    assert "half" not in await schema_of(empty)
    assert await migrate(empty) == NEWEST
    assert await schema_of(empty) == SCHEMA.read_text()


async def migrating_sessions(holder: "asyncpg.Connection[asyncpg.Record]") -> list[str | None]:
    rows = await holder.fetch(
        "SELECT wait_event_type FROM pg_stat_activity "
        "WHERE application_name = 'rulecast migrate' AND datname = current_database() AND query LIKE '%advisory%'"
    )
    return [row["wait_event_type"] for row in rows]


async def test_the_lock_is_polled_not_waited_in(empty: str) -> None:
    holder = await asyncpg.connect(empty)
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(migrate(empty), name="waiting")
            # idle between two polls: it holds no snapshot and stands in no queue
            sessions = await wait_for(partial(migrating_sessions, holder))
            assert "Lock" not in sessions
            assert not waiting.done()
            await holder.execute("SELECT pg_advisory_unlock($1)", LOCK)
        assert waiting.result() == NEWEST
    finally:
        await holder.close()


async def test_a_lock_that_is_never_free_is_told(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", 0.2)
    holder = await asyncpg.connect(empty)
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
        with pytest.raises(Unavailable, match="migration lock"):
            await migrate(empty)
    finally:
        await holder.close()


async def test_no_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await migrate(f"postgresql://nobody@/none?host={tmp_path}")


async def test_a_database_that_was_migrated_is_ready(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        counter = await connection.fetchrow("SELECT * FROM revision_counter")
        assert counter is not None
        assert counter["revision"] == 0
        assert await connection.fetchval("SELECT label FROM namespaces WHERE id = 'default'") == "group_id"
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO revision_counter SELECT * FROM revision_counter")
    finally:
        await connection.close()
