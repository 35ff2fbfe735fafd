"""When the next Update goes to a deployer: at once, but not in the middle of a burst of edits.

An Update costs its Prometheus a reload of everything. An edit by itself has to be there soon, and nothing is won by
waiting. But where others are on their way to their commit, or came while the last Update was applied, one reload for
all of them brings the last one sooner than a reload for each few. Pure: time is told, in seconds.
"""

from typing import Final

QUIET: Final = 0.25
"""Of the time that the last Update took: a pause between edits that is the end of a burst."""
LONGEST_QUIET: Final = 1.0
PATIENCE: Final = 2.0
"""Of the time that the last Update took: for so long at most the next one is held back."""
LONGEST_PATIENCE: Final = 5.0


class Pace:
    """Of one stream."""

    def __init__(self) -> None:
        self._revision = 0
        self._changed_at = 0.0
        self._took = 0.0
        self._bursting = False
        self._waiting_since: float | None = None

    def saw(self, revision: int, now: float) -> None:
        """The newest revision there is."""
        if revision != self._revision:
            self._revision = revision
            self._changed_at = now
            if self._waiting_since is None:
                self._waiting_since = now

    def answered(self, to_revision: int, took: float, now: float) -> None:
        """The Update that led to this revision was answered. took: since it was sent."""
        self._took = took
        self._bursting = self._revision > to_revision
        self._waiting_since = now if self._bursting else None

    def held_until(self, now: float, *, more_coming: bool) -> float | None:
        """When the next Update may go; None: now. more_coming: edits are on their way; ask again once there is none."""
        if self._waiting_since is not None:
            until = self._waiting_since + min(PATIENCE * self._took, LONGEST_PATIENCE)
            if not more_coming:
                quiet = min(QUIET * self._took, LONGEST_QUIET) if self._bursting else 0.0
                until = min(until, self._changed_at + quiet)
            if until > now:
                return until
            self._waiting_since = None
            self._bursting = False
        return None
