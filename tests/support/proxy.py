"""A TCP proxy before a PostgreSQL server on a Unix socket, that can go silent without closing anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import parse_qs, urlsplit

from deploy.local.postgres import SOCKET_NAME

CHUNK = 65_536


class Proxy:
    """url: of the same database, through the proxy. accepted: how many connections it has taken."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        (folder,) = parse_qs(parts.query)["host"]
        self._socket = f"{folder}/{SOCKET_NAME}"
        self._database = parts.path
        self._user = parts.username
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0
        self.accepted = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, database_url: str) -> AsyncIterator[Self]:
        proxy = cls(database_url)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy._port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            proxy.thaw()
            server.close()
            await server.wait_closed()

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self._port}{self._database}?sslmode=disable"

    def freeze(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._socket)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, upstream_writer), name="proxy up")
                tasks.create_task(self._pass(upstream_reader, writer), name="proxy down")
        finally:
            for each in (writer, upstream_writer):
                each.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            # one side is gone: so is the other, below
            pass
        finally:
            writer.close()
