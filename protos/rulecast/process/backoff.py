"""How long to wait before trying again."""

import random
from collections.abc import Iterator


def full_jitter(source: random.Random, *, first: float = 0.5, cap: float = 30.0) -> Iterator[float]:
    """Endless delays in seconds: the n-th is uniform between 0 and `first` * 2^n, at most `cap`.

    Full jitter spreads clients that lost the same server better than a jitter around a fixed delay. To reset, begin
    a new one.
    """
    ceiling = min(first, cap)
    while True:
        yield source.uniform(0.0, ceiling)
        ceiling = min(cap, ceiling * 2)
