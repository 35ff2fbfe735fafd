"""The bytes of Updates: contents fetched when they are needed, each Update serialised once for all who get it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final

from rule_service.stream.difference import Difference
from rule_service.stream.fragments import LIMIT, bodies
from rule_service.stream.lru import ByteLru
from rule_service.stream.view import Wanted
from rule_service.usecases.ports_delivery import ChangeLog
from rulecast.digest import file_sha256

CONTENTS_LIMIT: Final = 32 * 1024 * 1024
BODIES_LIMIT: Final = 64 * 1024 * 1024
FILES_AT_ONCE: Final = 64
"""So many files are fetched by one query."""
LARGE_AT_ONCE: Final = 8
"""So many large Updates are made and sent at a time, so that they keep neither memory nor small ones from others."""

Held = dict[bytes, bytes]
"""The bytes of files, by SHA-256."""


class Moved(Exception):
    """The database has newer versions of some of the files: catch up, and make the difference anew."""


class Updates:
    """contents_limit, bodies_limit: bytes that are kept of files, and of serialised Updates, for whoever is next."""

    def __init__(
        self, log: ChangeLog, *, contents_limit: int = CONTENTS_LIMIT, bodies_limit: int = BODIES_LIMIT
    ) -> None:
        self._log = log
        self._contents: ByteLru[bytes, bytes] = ByteLru(contents_limit)
        self._bodies: ByteLru[Difference, tuple[bytes, ...]] = ByteLru(bodies_limit)
        self._making: dict[Difference, asyncio.Event] = {}
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def ready(self, difference: Difference, held: Held) -> AbstractAsyncContextManager[tuple[bytes, ...]]:
        """The fragments, for as long as it takes to send them; large ones wait for their turn.

        held: what this stream has fetched already; more is added. Raises Moved, and Unavailable: now, or on entering.
        """
        if len(difference.puts) <= FILES_AT_ONCE:
            made = await self._made(difference, held)
            if len(made) == 1:
                return nullcontext(made)
        return self._in_turn(difference, held)

    @asynccontextmanager
    async def _in_turn(self, difference: Difference, held: Held) -> AsyncIterator[tuple[bytes, ...]]:
        async with self._large:
            yield await self._made(difference, held)

    async def _made(self, difference: Difference, held: Held) -> tuple[bytes, ...]:
        while (made := self._bodies.get(difference)) is None:
            making = self._making.get(difference)
            if making is None:
                return await self._make(difference, held)
            # not a lock: that would let those who wait go on one after the other, between whatever else goes on
            await making.wait()
        return made

    async def _make(self, difference: Difference, held: Held) -> tuple[bytes, ...]:
        done = self._making[difference] = asyncio.Event()
        try:
            await self._fetch(difference.puts, held)
            made = await _serialised(difference, held)
            self._bodies.put(difference, made, sum(map(len, made)))
            return made
        finally:
            del self._making[difference]
            done.set()

    async def _fetch(self, puts: Sequence[Wanted], held: Held) -> None:
        missing = [put for put in puts if not self._found(put.sha256, held)]
        moved = False
        for at in range(0, len(missing), FILES_AT_ONCE):
            batch = missing[at : at + FILES_AT_ONCE]
            fetched = await _hashed(await self._log.contents([put.name for put in batch]))
            for sha256, content in fetched.items():
                held[sha256] = content
                self._contents.put(sha256, content, len(content))
            moved = moved or any(put.sha256 not in held for put in batch)
        if moved:
            raise Moved

    def _found(self, sha256: bytes, held: Held) -> bool:
        content = self._contents.get(sha256)
        if content is not None:
            held[sha256] = content
        return sha256 in held


async def _hashed(contents: Mapping[str, bytes]) -> Held:
    """What was read, by what it is: the database may be ahead of the manifest."""

    def by_hash() -> Held:
        return {file_sha256(content): content for content in contents.values()}

    large = sum(map(len, contents.values())) > LIMIT
    return await asyncio.to_thread(by_hash) if large else by_hash()


async def _serialised(difference: Difference, held: Held) -> tuple[bytes, ...]:
    if sum(len(held[put.sha256]) for put in difference.puts) > LIMIT:
        return await asyncio.to_thread(bodies, difference, held)
    return bodies(difference, held)
