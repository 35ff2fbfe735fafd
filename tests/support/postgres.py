"""Databases for tests: each is a copy of one that was migrated once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from deploy.local.postgres import PostgresServer
from rule_service.store.migrate import migrate

TEMPLATE = "rulecast_template"


async def make_template(server: PostgresServer) -> None:
    """Makes the database that `fresh_database` copies, with every migration applied."""
    await run(server, f"CREATE DATABASE {TEMPLATE}")
    await migrate(server.url(TEMPLATE))


@asynccontextmanager
async def fresh_database(server: PostgresServer, template: str = TEMPLATE) -> AsyncIterator[str]:
    """The URL of a new copy of the template, dropped afterwards even if somebody is still connected."""
    name = f"test_{uuid4().hex[:12]}"
    await run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.url(name)
    finally:
        await run(server, f"DROP DATABASE {name} WITH (FORCE)")


async def run(server: PostgresServer, sql: str) -> None:
    """Runs one statement as the superuser, outside the databases of the tests."""
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
