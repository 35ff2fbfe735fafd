"""The deployer's life: recover, then follow the rule service, until told to stop."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import structlog

from deployer_service.follow.follower import Follower
from deployer_service.pipeline.run import Pipeline
from rulecast.errors import Unavailable
from rulecast.process.backoff import full_jitter

_RECOVERY_CAP = 10.0

_log = structlog.get_logger()


class Life:
    """on_recovered: called once, when the deployer can be asked for something."""

    def __init__(
        self,
        pipeline: Pipeline,
        follower: Follower,
        stop: asyncio.Event,
        source: random.Random,
        on_recovered: Callable[[], Awaitable[None]],
    ) -> None:
        self._pipeline = pipeline
        self._follower = follower
        self._stop = stop
        self._source = source
        self._on_recovered = on_recovered
        self._not_ready: str | None = "looking at what is on disk"

    def not_ready(self) -> str | None:
        return self._not_ready

    async def run(self) -> None:
        """Raises FailedPrecondition (DUPLICATE_DEPLOYER) when another process has the rule directory."""
        try:
            if await self._recover():
                self._not_ready = None
                await self._on_recovered()
                await self._follow()
        finally:
            await self._pipeline.close()

    async def _recover(self) -> bool:
        """Tries until the disk allows it; False when told to stop before."""
        for delay in full_jitter(self._source, cap=_RECOVERY_CAP):
            if self._stop.is_set():
                break
            try:
                await self._pipeline.recover()
                return True
            except Unavailable as error:
                self._not_ready = str(error)
                _log.error("can not look after the rule directory yet", reason=error.reason, error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
        return False

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            pipeline = group.create_task(self._pipeline.run(), name="pipeline")
            await self._follower.run(self._stop)
            pipeline.cancel()
