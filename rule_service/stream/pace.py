"""When the next Update goes to a deployer: at once, but not in the middle of a burst of edits.

An Update costs its Prometheus a reload of everything. An edit by itself has to be there soon, and nothing is won by
waiting. But where others came while the last Update was applied, more of them are likely, and one reload for all of
them brings the last one sooner than a reload for each few. Pure: time is told, in seconds.
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
        self._quiet = 0.0
        self._latest: float | None = None

    def saw(self, revision: int, now: float) -> None:
        """The newest revision there is."""
        if revision != self._revision:
            self._revision = revision
            self._changed_at = now

    def answered(self, to_revision: int, took: float, now: float) -> None:
        """The Update that led to this revision was answered. took: since it was sent."""
        if self._revision > to_revision:
            self._quiet = min(QUIET * took, LONGEST_QUIET)
            self._latest = now + min(PATIENCE * took, LONGEST_PATIENCE)
        else:
            self._latest = None

    def held_until(self, now: float) -> float | None:
        """When the next Update may go; None: now."""
        if self._latest is None:
            return None
        until = min(self._changed_at + self._quiet, self._latest)
        return until if until > now else None
