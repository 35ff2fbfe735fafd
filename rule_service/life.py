"""The rule service's life: wait for the database, bring its schema up to date, serve while it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from rule_service.store.migrate import SchemaBehind, SchemaMismatch, check, migrate
from rule_service.store.pool import wait_for_database
from rule_service.usecases.ports import Reads
from rulecast.errors import RulecastError, Unavailable
from rulecast.process.supervise import CanNotStart

LOOK_EVERY: Final = 2.0
"""Seconds between two looks whether the database answers."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Life:
    """dsn: of the database. migrating: whether the schema is to be brought up to date at start, or only looked at.

    background: what runs once the schema is there, by name, each until it is cancelled.
    set_serving: is told whether the service can do its work.
    """

    def __init__(
        self,
        dsn: str,
        *,
        migrating: bool,
        reads: Reads,
        background: Mapping[str, Callable[[], Awaitable[None]]],
        set_serving: Callable[[bool], Awaitable[None]],
        stop: asyncio.Event,
    ) -> None:
        self._dsn = dsn
        self._migrating = migrating
        self._reads = reads
        self._background = background
        self._set_serving = set_serving
        self._stop = stop
        self._not_ready: str | None = "waiting for the database"

    def not_ready(self) -> str | None:
        """Why the service can not do its work; None when it can."""
        return self._not_ready

    async def run(self) -> None:
        """Until told to stop. Raises CanNotStart for a database that this build can not use."""
        async with asyncio.TaskGroup() as group:
            working = group.create_task(self._work(), name="work")
            await self._stop.wait()
            working.cancel()

    async def _work(self) -> None:
        await wait_for_database(self._dsn)
        try:
            version = await (migrate(self._dsn) if self._migrating else self._migrated_by_others())
        except SchemaMismatch as error:
            raise CanNotStart(str(error)) from error
        _log.info("schema is up to date", version=version)
        async with asyncio.TaskGroup() as group:
            for name, run in self._background.items():
                group.create_task(run(), name=name)  # type: ignore[arg-type]  # every one is a coroutine function
            await self._watch_database()

    async def _migrated_by_others(self) -> int:
        while True:
            try:
                return await check(self._dsn)
            except (SchemaBehind, Unavailable) as error:
                if self._not_ready != str(error):
                    self._not_ready = str(error)
                    _log.warning("not ready", why=self._not_ready)
            await asyncio.sleep(LOOK_EVERY)

    async def _watch_database(self) -> None:
        while True:
            why = await self._why_not()
            if why != self._not_ready:
                self._not_ready = why
                await self._set_serving(why is None)
                if why is None:
                    _log.info("ready")
                else:
                    _log.warning("not ready", why=why)
            await asyncio.sleep(LOOK_EVERY)

    async def _why_not(self) -> str | None:
        try:
            await self._reads.revision()
        except RulecastError as error:
            return str(error)
        return None
