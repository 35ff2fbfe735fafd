"""The ladder of schema versions: numbered SQL files, each applied once, in order, in a transaction of its own.

Any number of replicas may start at once: one migrates, the others wait for it. A file that was applied is never
changed; a build refuses a database whose past differs from its own, and one that is too new for it.

A step that earlier builds can go on with says from which on, in a line of its own: `-- compatible from: 7` are those
that know version 7 or newer. Such a step only adds (tests/support/additive.py looks at it), so that a replica of the
release before serves while another migrates, and can be started again. Without it, earlier builds refuse the database.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

import asyncpg
import structlog

from rule_service.store.keepalive import SERVER_SETTINGS, WatchedConnection
from rule_service.store.pool import CLOSE_TIMEOUT, CONNECT_TIMEOUT
from rule_service.store.refusals import Refused, denied, unavailable

LOCK = 0x52756C6563617374  # "Rulecast"
LOCK_POLL = 0.1  # seconds
LOCK_TIMEOUT = 120.0  # seconds

_COMPATIBLE = re.compile(r"^-- compatible from: (\d+)$", re.MULTILINE)
_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class SchemaMismatch(Exception):
    """The database is not one that this build can use; the message says why and what to do."""


class SchemaBehind(SchemaMismatch):
    """Steps of this build are missing: somebody has to migrate."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `version` counts from 1 upwards."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def compatible_from(self) -> int:
        """The version that a build has to know to use the database after this step."""
        stated = _COMPATIBLE.search(self.sql)
        return int(stated[1]) if stated else self.version


class _Applied(NamedTuple):
    """A step that the database has."""

    checksum: str
    compatible_from: int


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


async def check(dsn: str) -> int:
    """The version of the database, which this build can use as it is. Changes nothing.

    Raises SchemaMismatch, SchemaBehind where steps are missing, and Unavailable when the database can not be reached or
    does not let its user look.
    """
    steps = load_migrations()
    async with _connection(dsn) as connection:
        there = await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
        applied = await _applied(connection) if there else {}
    _check(applied, steps)
    missing = [step for step in steps if step.version not in applied]
    if missing:
        raise SchemaBehind(
            f"the database has schema version {max(applied, default=0)}, this build needs {missing[-1].version}: run "
            "`rule-service migrate` of this build first, or set RULE_SERVICE_DATABASE_MIGRATE=true"
        )
    return max(applied)


async def migrate(dsn: str) -> int:
    """Brings the database to the newest schema and returns its version.

    Raises SchemaMismatch, and Unavailable when the database can not be reached or another replica holds the
    migration lock for two minutes.
    """
    return await apply(dsn, load_migrations())


async def apply(dsn: str, migrations: Sequence[Migration]) -> int:
    """As `migrate`, with the steps given."""
    async with _connection(dsn) as connection:
        await _lock(connection)
        return await _climb(connection, migrations)


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT,
            connection_class=WatchedConnection,
            server_settings={**SERVER_SETTINGS, "application_name": "rulecast migrate"},
        )
    except asyncpg.ClientConfigurationError:
        raise
    except Refused as error:
        raise unavailable(error) from error
    try:
        yield connection
    except asyncpg.InsufficientPrivilegeError as error:
        raise denied(error) from error
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, OSError, TimeoutError) as error:
        raise unavailable(error) from error
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
    await connection.execute("ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS compatible_from integer")
    applied = await _applied(connection)
    _check(applied, migrations)
    for migration in migrations:
        if migration.version not in applied:
            await _step(connection, migration)
    return max((*applied, *(migration.version for migration in migrations)), default=0)


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[int, _Applied]:
    # every column: the first databases had no `compatible_from`
    rows = await connection.fetch("SELECT * FROM schema_migrations")
    return {row["version"]: _Applied(row["checksum"], row.get("compatible_from") or row["version"]) for row in rows}


def _check(applied: Mapping[int, _Applied], migrations: Sequence[Migration]) -> None:
    known = max((migration.version for migration in migrations), default=0)
    needed = max((step.compatible_from for step in applied.values()), default=0)
    if needed > known:
        raise SchemaMismatch(
            f"the database has schema version {max(applied)}, which needs a build that knows {needed}, and this build "
            f"knows {known}: start a build that is at least as new as the one that migrated it"
        )
    if max(applied, default=0) > known:
        log.warning("the database is newer than this build, which can go on with it", version=max(applied), known=known)
    for migration in migrations:
        before = applied.get(migration.version)
        if before is not None and before.checksum != migration.checksum:
            raise SchemaMismatch(
                f"schema version {migration.version} ({migration.name}) of the database was made by another text than "
                "this build has: it belongs to another line of development; use the build that made it, or an empty "
                "database"
            )


async def _step(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum, compatible_from) VALUES ($1, $2, $3, $4)",
            migration.version,
            migration.name,
            migration.checksum,
            migration.compatible_from,
        )
    log.info("schema migrated", version=migration.version, name=migration.name)
