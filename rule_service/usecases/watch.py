"""Keeps an overview of the whole, so that asking for metrics never waits for the database."""

import asyncio
from typing import Final

import structlog

from rule_service.usecases.ports_watch import Overview, Overviews
from rulecast.errors import Unavailable

LOOK_EVERY: Final = 5.0
"""Seconds between two looks."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Watch:
    """overview: the newest; None before the first. up: whether the database answered last."""

    def __init__(self, overviews: Overviews, *, every: float = LOOK_EVERY) -> None:
        self.overview: Overview | None = None
        self.up = False
        self._overviews = overviews
        self._every = every

    async def run(self) -> None:
        """Looks again and again until it is cancelled; a database that is away is waited for."""
        while True:
            await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        known = self.overview.totals if self.overview is not None else None
        try:
            totals = await self._overviews.totals(known)
            self.overview = Overview(totals, await self._overviews.lags())
        except Unavailable as error:
            if self.up:
                _log.warning("no overview for the metrics", reason=error.reason, error=str(error))
            self.up = False
        else:
            self.up = True
