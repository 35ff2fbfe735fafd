"""The edits of this replica that are on their way to their commit: who tells of one may wait for the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Underway:
    """Counts them."""

    def __init__(self) -> None:
        self._count = 0
        self._when_none: set[Callable[[], None]] = set()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._count > 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """An edit, until it is committed or has failed."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                waiting, self._when_none = self._when_none, set()
                for tell in waiting:
                    tell()

    def when_none(self, tell: Callable[[], None]) -> None:
        """Calls this once, as soon as there is none. The same one twice is one."""
        self._when_none.add(tell)
