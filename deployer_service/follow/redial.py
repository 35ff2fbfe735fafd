"""When to connect again, and where to. Pure but for the source of randomness.

A deployer that lost its stream goes to another address at once, then waits with full jitter up to 30 s, or up to 5 s
where the rule service answers but its database is away. A stream that lived for a minute clears what was before. A
shorter one that was of use makes the delays begin anew, but with a floor: a rule service that welcomes everybody and
dies is not hammered.
One that was refused, by a wrong name, protocol or certificate, is tried at most every few minutes; whoever says when to
come again is believed.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rulecast.errors import FailedPrecondition, RulecastError
from rulecast.process.backoff import full_jitter
from rulecast.reasons import Reason
from rulecast.rpc.errors import RETRY_AFTER

CAP: Final = 30.0
DATABASE_CAP: Final = 5.0
REFUSED_CAP: Final = 300.0
SETTLED_AFTER: Final = 60.0
FLOOR: Final = 0.5


@dataclass(frozen=True, slots=True)
class Stopped:
    """We were told to stop."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The rule service asked us to go elsewhere. wait: seconds until the moment that was drawn."""

    wait: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream ended. lived: seconds since Welcome, 0 without one.

    useful: our files were found to be as they should be, or an Update was answered.
    """

    error: RulecastError
    lived: float
    useful: bool = False

    @property
    def refused(self) -> bool:
        return isinstance(self.error, FailedPrecondition)


End = Stopped | Drained | Lost


class Redial:
    """Remembers how it went. addresses: at least one; the first one is drawn, so that deployers spread."""

    def __init__(self, addresses: Sequence[str], source: random.Random) -> None:
        self._addresses = tuple(addresses)
        self._source = source
        self._at = source.randrange(len(self._addresses))
        self._reset()

    @property
    def address(self) -> str:
        """Where to connect to next."""
        return self._addresses[self._at]

    def after(self, end: Drained | Lost) -> float:
        """Seconds to wait before connecting to `address`, which is another one now if there is another."""
        self._at = (self._at + 1) % len(self._addresses)
        if isinstance(end, Drained):
            self._reset()
            return end.wait
        if end.lived >= SETTLED_AFTER:
            self._reset()
        stated = end.error.metadata.get(RETRY_AFTER)
        if end.refused and stated is not None:
            return float(stated) + self._source.uniform(0.0, 1.0)
        if end.refused:
            return next(self._refused)
        if self._fresh > 0:
            self._fresh -= 1
            return 0.0
        if end.error.reason is Reason.DATABASE_UNAVAILABLE:
            return self._source.uniform(0.0, DATABASE_CAP)
        if end.useful and end.lived < SETTLED_AFTER:
            self._lost = full_jitter(self._source, cap=CAP)
            return FLOOR + next(self._lost)
        return next(self._lost)

    def _reset(self) -> None:
        # each other address is worth one try at once
        self._fresh = len(self._addresses) - 1
        self._lost = full_jitter(self._source, cap=CAP)
        self._refused: Iterator[float] = full_jitter(self._source, first=5.0, cap=REFUSED_CAP)
