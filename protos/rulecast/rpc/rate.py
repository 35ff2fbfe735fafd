"""Token buckets: how often a caller may call. Memory is bounded, whoever calls."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CAPACITY: Final = 10_000
"""Buckets that are remembered; the one that was used longest ago goes first, and begins full if it comes back."""


@dataclass(frozen=True, slots=True)
class Rate:
    """per_second: calls on average; 0 is no limit. burst: calls at once, after a pause."""

    per_second: float
    burst: int


class Buckets:
    """One for each caller. clock: seconds, monotonic."""

    def __init__(self, rate: Rate, *, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._capacity = capacity
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until a call would be allowed; 0 if it is now. Takes nothing."""
        if not self._rate.per_second:
            return 0.0
        missing = 1.0 - self._level(key)
        return missing / self._rate.per_second if missing > 0 else 0.0

    def take(self, key: str) -> float:
        """Seconds until the call is allowed; 0 if it is now, and then it is counted."""
        wait = self.wait(key)
        if wait == 0.0 and self._rate.per_second:
            self._levels[key] = (self._level(key) - 1.0, self._clock())
            self._levels.move_to_end(key)
            if len(self._levels) > self._capacity:
                self._levels.popitem(last=False)
        return wait

    def _level(self, key: str) -> float:
        level, at = self._levels.get(key, (float(self._rate.burst), 0.0))
        return min(float(self._rate.burst), level + (self._clock() - at) * self._rate.per_second)
