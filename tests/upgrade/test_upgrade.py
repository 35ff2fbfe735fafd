"""The release before goes on while and after another one migrates: its statements, and what migrations may do."""

import pytest

from deploy.local.postgres import PostgresServer
from rule_service.store.migrate import Migration, apply, load_migrations, migrate
from tests.support.additive import objections
from tests.support.postgres import fresh_database
from tests.support.store import open_database
from tests.upgrade.record import scenario
from tests.upgrade.statements import RECORDINGS, dump, load, recording, replay

RELEASES = {path.stem: load(path.read_text()) for path in sorted(RECORDINGS.glob("*.json"))}
"""What each release says to the database, the newest last."""


@pytest.mark.parametrize("release", RELEASES)
async def test_an_earlier_release_goes_on_with_the_newest_schema(database: str, release: str) -> None:
    async with open_database(database) as pool:
        assert await replay(pool, RELEASES[release]) == []


def test_there_is_a_recording_that_says_something() -> None:
    for transactions in RELEASES.values():
        said = " ".join(statement.sql for each in transactions for statement in each.statements)
        for table in ("rules", "history", "change_log", "deployers", "deployer_files", "rendered_files", "targets"):
            assert f"INSERT INTO {table} " in " ".join(said.split())
    assert RELEASES


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE rules ADD COLUMN colour text NOT NULL",
        "ALTER TABLE templates DROP COLUMN description",
        "ALTER TABLE change_log RENAME TO changes",
    ],
)
async def test_a_migration_that_breaks_an_earlier_release_is_found(postgres_server: PostgresServer, sql: str) -> None:
    ladder = load_migrations()
    newest = ladder[-1].version
    async with fresh_database(postgres_server, template="template0") as url:
        await apply(url, [*ladder, Migration(newest + 1, "bad", f"-- compatible from: {newest}\n{sql};")])
        async with open_database(url) as pool:
            assert await replay(pool, [*RELEASES.values()][-1])


async def test_a_recording_is_what_is_said(database: str) -> None:
    """Recorded and run again on an empty database, it finds and touches as much."""
    async with open_database(database) as pool:
        with recording() as said:
            await scenario(pool)
    assert load(dump(said)) == load(dump(load(dump(said))))


async def test_the_schema_grows_under_a_replica_of_the_release_before(postgres_server: PostgresServer) -> None:
    """It holds its connections and prepared statements while a newer one migrates, and goes on."""
    async with fresh_database(postgres_server, template="template0") as url:
        await migrate(url)
        ladder = load_migrations()
        newest = ladder[-1].version
        async with open_database(url) as pool:
            async with pool.session() as session:
                assert await session.rows("SELECT * FROM rules") == []
            added = "ALTER TABLE rules ADD COLUMN colour text; CREATE INDEX rules_colour ON rules (colour, id);"
            await apply(url, [*ladder, Migration(newest + 1, "more", f"-- compatible from: {newest}\n{added}")])
            await scenario(pool)


def test_a_migration_that_says_it_is_compatible_only_adds() -> None:
    for migration in load_migrations():
        if migration.compatible_from < migration.version:
            assert objections(migration.sql) == [], migration.name


@pytest.mark.parametrize(
    "sql",
    [
        "-- words; and more\nCREATE TABLE audit (id bigint PRIMARY KEY, at timestamptz NOT NULL);",
        "ALTER TABLE rules ADD COLUMN owner text, ADD COLUMN paused boolean NOT NULL DEFAULT false;",
        "CREATE INDEX rules_owner ON rules (owner, id) WHERE deleted_at IS NULL;",
        "ALTER TABLE history ADD COLUMN token text;\nCREATE UNIQUE INDEX history_token ON history (token);",
        "CREATE TABLE tokens (hash bytea); CREATE UNIQUE INDEX tokens_hash ON tokens (hash);",
        "ALTER TABLE rules ADD COLUMN note text DEFAULT 'a, b; c'",
    ],
)
def test_what_only_adds(sql: str) -> None:
    assert objections(sql) == []


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("ALTER TABLE rules ADD COLUMN owner text NOT NULL", "has to be given"),
        ("ALTER TABLE rules ADD COLUMN a text, DROP COLUMN key", "changes what is there"),
        ("ALTER TABLE rules ALTER COLUMN key TYPE integer", "changes what is there"),
        ("CREATE UNIQUE INDEX rules_name ON rules (key)", "unique index"),
        ("DROP INDEX rules_key", "not known to only add"),
        ("UPDATE rules SET enabled = false", "not known to only add"),
        ("ALTER TABLE rules ADD COLUMN of text DEFAULT 'x' REFERENCES groups", "may break a constraint"),
    ],
)
def test_what_does_more_than_add(sql: str, why: str) -> None:
    assert any(why in objection for objection in objections(sql))
