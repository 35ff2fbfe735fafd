"""Locks in a test's database: taken, so that a write stops where it is, and looked at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def table_locked(database: str, table: str) -> AsyncIterator[None]:
    """Nobody else can read or write the table meanwhile."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def commit_lock_is_free(database: str) -> bool:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("SELECT FROM revision_counter FOR UPDATE NOWAIT")
    except asyncpg.LockNotAvailableError:
        return False
    finally:
        await connection.close()
    return True
