"""A timer that is put off again and again, as one for what is due next on a stream is with every message."""

import asyncio
from collections.abc import Callable
from typing import Final


class Alarm:
    """Rings at the latest when it was last told to; perhaps earlier, so whoever hears it looks what is due.

    Cheaper than a timer that is set for every pause and taken back after it: putting it off costs nothing.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring: Final = ring
        self._timer: asyncio.TimerHandle | None = None

    def by(self, time: float) -> None:
        """Rings at this time of the event loop, or before."""
        if self._timer is not None and self._timer.when() <= time:
            return
        self.off()
        self._timer = asyncio.get_running_loop().call_at(time, self._rings)

    def off(self) -> None:
        """Does not ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._timer = None
        self._ring()
