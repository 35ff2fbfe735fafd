"""Notices to every replica, by PostgreSQL's NOTIFY."""

from rule_service.store.pool import Database
from rule_service.stream.commands import COMMANDS


class PostgresNotices:
    """Implements `Notices` on the channel of the commands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def send(self, payload: str) -> None:
        async with self._database.session() as session:
            await session.run("SELECT pg_notify($1, $2)", COMMANDS, payload)
