"""Waits until the fate of a revision is known."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from rule_service.usecases.ports import Reads, Wakeups
from rule_service.usecases.ports_fates import DeployerFacts
from rule_service.usecases.rollout import Rollout, Until, read_rollout, rollout_among

LOOK_AGAIN = 1.0
"""Seconds after which it looks again though nothing woke it: wake-ups are hints."""


class RolloutWaiter:
    """Follows rollouts. One for the process: all who wait are woken by the same, and look together."""

    def __init__(self, reads: Reads, wakeups: Wakeups) -> None:
        self._reads = reads
        self._wakeups = wakeups
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Future[Sequence[DeployerFacts] | None] | None = None

    async def wait(self, revision: int, timeout: float | None, until: Until) -> Rollout | None:
        """As `wait_at_most`; None where it was not asked for."""
        return None if timeout is None else await self.wait_at_most(revision, timeout, until)

    async def wait_at_most(self, revision: int, timeout: float, until: Until) -> Rollout:
        """The rollout once it has come so far, or as it is after `timeout` seconds."""
        last: Rollout | None = None
        with contextlib.suppress(TimeoutError):  # who asked is told how far it has come
            async with asyncio.timeout(timeout):
                async for rollout in self.follow(revision, until):
                    last = rollout
        return last or await read_rollout(self._reads, revision)

    async def follow(self, revision: int, until: Until) -> AsyncIterator[Rollout]:
        """The rollout now and whenever it has changed, until it has come so far."""
        last: Rollout | None = None
        names = [change.file_name for change in await self._reads.changed_files(revision)]
        while True:
            # armed before reading, so that no change between the two is missed
            wakeup = self._wakeups.armed()
            rollout = await rollout_among(self._reads, revision, names, await self._deployers())
            if rollout != last:
                last = rollout
                yield rollout
            if rollout.has_come(until):
                return
            await wakeup.wait(LOOK_AGAIN)

    async def _deployers(self) -> Sequence[DeployerFacts]:
        """As they are now: read once for all who ask before the reading begins."""
        while True:
            look = self._next_look
            if look is None:
                return await self._look()
            found = await asyncio.shield(look)
            if found is not None:
                return found

    async def _look(self) -> Sequence[DeployerFacts]:
        look = self._next_look = asyncio.get_running_loop().create_future()
        found: Sequence[DeployerFacts] | None = None
        try:
            async with self._looking:
                # all who were woken by the same come along
                await asyncio.sleep(0)
                # who asks from now on may have been woken by something that this does not see
                self._next_look = None
                found = await self._reads.deployers()
                return found
        finally:
            if self._next_look is look:
                self._next_look = None
            # None: it failed or was cancelled, and whoever was waiting for it looks again
            look.set_result(found)
