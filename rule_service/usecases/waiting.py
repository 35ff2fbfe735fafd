"""Waits until the fate of a revision is known."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rule_service.usecases.ports import Reads, Wakeups
from rule_service.usecases.rollout import Rollout, Until, read_rollout

LOOK_AGAIN = 1.0
"""Seconds after which it looks again though nothing woke it: wake-ups are hints."""


class RolloutWaiter:
    """Follows rollouts."""

    def __init__(self, reads: Reads, wakeups: Wakeups) -> None:
        self._reads = reads
        self._wakeups = wakeups

    async def wait(self, revision: int, timeout: float | None, until: Until) -> Rollout | None:
        """As `wait_at_most`; None where it was not asked for."""
        return None if timeout is None else await self.wait_at_most(revision, timeout, until)

    async def wait_at_most(self, revision: int, timeout: float, until: Until) -> Rollout:
        """The rollout once it has come so far, or as it is after `timeout` seconds."""
        last = await read_rollout(self._reads, revision)
        with contextlib.suppress(TimeoutError):  # who asked is told how far it has come
            async with asyncio.timeout(timeout):
                async for rollout in self.follow(revision, until):
                    last = rollout
        return last

    async def follow(self, revision: int, until: Until) -> AsyncIterator[Rollout]:
        """The rollout now and whenever it has changed, until it has come so far."""
        last: Rollout | None = None
        while True:
            # armed before reading, so that no change between the two is missed
            wakeup = self._wakeups.armed()
            rollout = await read_rollout(self._reads, revision)
            if rollout != last:
                last = rollout
                yield rollout
            if rollout.has_come(until):
                return
            await wakeup.wait(LOOK_AGAIN)
