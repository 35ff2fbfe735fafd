"""Delays between tries."""

import itertools
import random

from rulecast.process.backoff import full_jitter


class Highest(random.Random):
    """Always the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    delays = itertools.islice(full_jitter(Highest(), first=0.5, cap=30.0), 9)

    assert list(delays) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_delays_are_spread_from_zero_to_the_ceiling() -> None:
    delays = [next(itertools.islice(full_jitter(random.Random(seed)), 10, None)) for seed in range(400)]

    assert all(0 <= delay <= 30 for delay in delays)
    assert min(delays) < 3
    assert max(delays) > 27


def test_it_never_ends_and_never_overflows() -> None:
    assert next(itertools.islice(full_jitter(Highest()), 5_000, None)) == 30.0
