"""In which trace each of the newest revisions was made, so that its delivery is seen in it.

Told by NOTIFY alone: a word that is lost costs a span, and no row of the database is spent on it.
"""

from collections import OrderedDict
from itertools import islice, takewhile
from typing import Final

KEPT: Final = 1_000
"""Revisions. What is older was delivered long ago, or its trace is of no interest any more."""
LINKED: Final = 16
"""Other revisions of one Update whose traces are linked."""


class Traces:
    """One for the replica."""

    def __init__(self) -> None:
        self._parents: OrderedDict[int, str] = OrderedDict()

    def heard(self, payload: str) -> None:
        """payload: a revision, and the traceparent of its commit."""
        revision, _, parent = payload.partition(" ")
        if revision.isdecimal() and parent:
            self._parents[int(revision)] = parent
            while len(self._parents) > KEPT:
                self._parents.popitem(last=False)

    def between(self, after: int, upto: int) -> tuple[str, ...]:
        """The traceparents of the revisions in (after, upto], the newest first, at most one and those to be linked."""
        newest_first = (revision for revision in reversed(self._parents) if revision <= upto)
        wanted = islice(takewhile(lambda revision: revision > after, newest_first), 1 + LINKED)
        return tuple(self._parents[revision] for revision in wanted)
