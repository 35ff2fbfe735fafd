"""A proxy before PostgreSQL that knows the steps of an edit's transaction, and holds everything after any of them."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from tests.support.proxy import Link, Proxy, Streams

HEADER = 5  # bytes: the kind of a message, and the length of what follows
QUERY, EXECUTE, SYNC = b"Q", b"E", b"S"


class StepProxy(Proxy):
    """A step is one statement of the client in a transaction that may write, its BEGIN and its COMMIT included.

    `hold_after` says after how many steps nothing passes any more, `hold_at_commit` that it is at the next COMMIT;
    `reached` is set then. The steps count over all connections from the moment that it was said. left: how many are
    still to come; None where nothing is to be held.
    """

    def __init__(self, connect: "Callable[[], Awaitable[Streams]]", url: str) -> None:
        super().__init__(connect, url)
        self._tails: WeakKeyDictionary[Link, bytes] = WeakKeyDictionary()
        self._writing: set[Link] = set()
        self._executing: set[Link] = set()
        self.left: int | None = None
        self._commit_passes: bool | None = None
        self.reached = asyncio.Event()

    def hold_after(self, steps: int) -> None:
        self.left = steps
        self.reached.clear()

    def hold_at_commit(self, *, passes: bool) -> None:
        """passes: whether the server still gets it. How many steps come before depends on what is prepared already."""
        self._commit_passes = passes
        self.reached.clear()

    def go_on(self) -> None:
        """Cuts what is held, and lets everything pass from now on."""
        self.left = self._commit_passes = None
        self.reached.clear()
        self.cut()
        self.thaw()

    def allowed(self, link: Link, data: bytes) -> bytes:
        greeted = link in self._tails
        rest = self._tails.get(link, b"") + data
        passed = b""
        while (size := _size(rest, greeted)) is not None and not self.reached.is_set():
            message, rest = rest[:size], rest[size:]
            if self._commit_passes is not None and link in self._writing and _is_commit(message):
                self._stop_here()
                if not self._commit_passes:
                    break
            passed += message
            if greeted:
                self._count(link, message)
            greeted = True
        self._tails[link] = rest
        return passed

    def _count(self, link: Link, message: bytes) -> None:
        kind, said = message[:1], message[HEADER:]
        if kind == QUERY and said.startswith(b"BEGIN") and b"READ ONLY" not in said:
            self._writing.add(link)
        if kind == EXECUTE:
            self._executing.add(link)
        # to the server a prepared statement is over with the Sync after it
        over = kind == QUERY or (kind == SYNC and link in self._executing)
        if not over or link not in self._writing:
            return
        self._executing.discard(link)
        if kind == QUERY and said.startswith((b"COMMIT", b"ROLLBACK")):
            self._writing.discard(link)
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self._stop_here()

    def _stop_here(self) -> None:
        self.reached.set()
        self.freeze()


def _is_commit(message: bytes) -> bool:
    return message.startswith(QUERY) and message[HEADER:].startswith(b"COMMIT")


def _size(data: bytes, greeted: bool) -> int | None:
    """Bytes of the message that the data begins with; None if it is not all there. The first one has no kind."""
    at = 1 if greeted else 0
    if len(data) < at + 4:
        return None
    size = at + int.from_bytes(data[at : at + 4], "big")
    return size if len(data) >= size else None
