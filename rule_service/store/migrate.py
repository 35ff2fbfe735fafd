"""The ladder of schema versions: numbered SQL files, each applied once, in order, in a transaction of its own.

Any number of replicas may start at once: one migrates, the others wait for it. A file that was applied is never
changed; a build refuses a database that is newer than itself, or whose past differs from its own.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources

import asyncpg
import structlog

from rule_service.store.pool import CLOSE_TIMEOUT, CONNECT_TIMEOUT
from rule_service.store.refusals import Refused, unavailable

LOCK = 0x52756C6563617374  # "Rulecast"
LOCK_POLL = 0.1  # seconds
LOCK_TIMEOUT = 120.0  # seconds

_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class SchemaMismatch(Exception):
    """The database is not one that this build can use; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `version` counts from 1 without gaps."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> tuple[Migration, ...]:
    """The steps of this build, in order."""
    files = resources.files("rule_service.store").joinpath("migrations")
    named = ((_FILE_NAME.fullmatch(file.name), file) for file in files.iterdir())
    found = [
        Migration(int(match["version"]), match["name"], file.read_text(encoding="utf-8"))
        for match, file in named
        if match
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


async def migrate(dsn: str) -> int:
    """Brings the database to the newest schema and returns its version.

    Raises SchemaMismatch, and Unavailable when the database can not be reached or another replica holds the
    migration lock for two minutes.
    """
    return await apply(dsn, load_migrations())


async def apply(dsn: str, migrations: Sequence[Migration]) -> int:
    """As `migrate`, with the steps given."""
    try:
        async with _connection(dsn) as connection:
            await _lock(connection)
            return await _climb(connection, migrations)
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, OSError, TimeoutError) as error:
        raise unavailable(error) from error


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    try:
        connection = await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT, server_settings={"application_name": "rulecast migrate"}
        )
    except asyncpg.ClientConfigurationError:
        raise
    except Refused as error:
        raise unavailable(error) from error
    try:
        yield connection
    finally:
        # the lock is the session's, so it ends here
        await connection.close(timeout=CLOSE_TIMEOUT)


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    # polled, since a session that waits in pg_advisory_lock holds a snapshot, for which CREATE INDEX CONCURRENTLY waits
    try:
        async with asyncio.timeout(LOCK_TIMEOUT):
            while True:
                if await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                    return
                await asyncio.sleep(LOCK_POLL)
    except TimeoutError as error:
        message = f"another replica has held the migration lock for {LOCK_TIMEOUT:g} s"
        raise TimeoutError(message) from error


async def _climb(connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]) -> int:
    await connection.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            version integer PRIMARY KEY,
            name text NOT NULL,
            checksum text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    applied = {row["version"]: row["checksum"] for row in rows}
    _check(applied, migrations)
    for migration in migrations:
        if migration.version not in applied:
            await _step(connection, migration)
    return _newest(migrations)


def _check(applied: Mapping[int, str], migrations: Sequence[Migration]) -> None:
    newest = max(applied, default=0)
    if newest > _newest(migrations):
        raise SchemaMismatch(
            f"the database has schema version {newest}, this build knows {_newest(migrations)}: "
            "start a build that is at least as new as the one that migrated it"
        )
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise SchemaMismatch(
                f"schema version {migration.version} ({migration.name}) of the database was made by another text than "
                "this build has: it belongs to another line of development; use the build that made it, or an empty "
                "database"
            )


def _newest(migrations: Sequence[Migration]) -> int:
    return max((migration.version for migration in migrations), default=0)


async def _step(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )
    log.info("schema migrated", version=migration.version, name=migration.name)
