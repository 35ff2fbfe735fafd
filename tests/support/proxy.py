"""A TCP proxy for tests: before a PostgreSQL server or before a gRPC server, that cuts, delays and goes silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import parse_qs, urlsplit

from deploy.local.postgres import SOCKET_NAME

CHUNK = 65_536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One connection through the proxy. first_words: the first bytes that the client sent."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.first_words = b""
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.cut_off = False

    def cut(self) -> None:
        """The client sees a reset. The server gets what has passed so far, and then the end."""
        self.cut_off = True
        self.client.transport.abort()
        self.server.close()
        self.flowing.set()


def everyone(_: Link) -> bool:
    return True


def listens(link: Link) -> bool:
    """Whether it is the connection on which a rule service listens for notifications."""
    return b"rulecast listen" in link.first_words


class Proxy:
    """accepted: how many connections it has taken. delay: seconds for which it holds each piece it passes."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]], url: str) -> None:
        self._connect = connect
        self._url = url
        self._frozen: Callable[[Link], bool] | None = None
        self._links: set[Link] = set()
        self._port = 0
        self._bytes_left: int | None = None
        self.accepted = 0
        self.delay = 0.0

    @classmethod
    @asynccontextmanager
    async def to(cls, database_url: str) -> AsyncIterator[Self]:
        """Before the PostgreSQL server of this URL, which is on a Unix socket."""
        parts = urlsplit(database_url)
        (folder,) = parse_qs(parts.query)["host"]
        socket = f"{folder}/{SOCKET_NAME}"
        url = f"postgresql://{parts.username}@127.0.0.1:{{port}}{parts.path}?sslmode=disable"
        async with cls._running(lambda: asyncio.open_unix_connection(socket), url) as proxy:
            yield proxy

    @classmethod
    @asynccontextmanager
    async def to_address(cls, address: str) -> AsyncIterator[Self]:
        """Before whatever listens on `host:port`, now or later."""
        host, _, port = address.rpartition(":")
        async with cls._running(lambda: asyncio.open_connection(host, int(port)), "") as proxy:
            yield proxy

    @classmethod
    @asynccontextmanager
    async def _running(cls, connect: Callable[[], Awaitable[Streams]], url: str) -> AsyncIterator[Self]:
        proxy = cls(connect, url)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy._port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()
            await server.wait_closed()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Of the same database, through the proxy."""
        return self._url.format(port=self._port)

    def freeze(self, which: Callable[[Link], bool] = everyone) -> None:
        """From now on nothing passes on these connections, also on new ones, and nobody is told."""
        self._frozen = which
        for link in self._links:
            self._hold(link)

    def thaw(self) -> None:
        self._frozen = None
        for link in self._links:
            link.flowing.set()

    def cut(self) -> None:
        """Ends every connection that there is. What is held is dropped. New ones are taken."""
        for link in list(self._links):
            link.cut()

    def cut_within(self, size: int) -> None:
        """Cuts all connections once so many more bytes have gone to clients: in the middle of a message, perhaps."""
        self._bytes_left = size

    def allowed(self, link: Link, data: bytes) -> bytes:
        """What is passed on of what a client says; the rest is dropped. For those who count messages."""
        return data

    def _hold(self, link: Link) -> None:
        if self._frozen is not None and self._frozen(link):
            link.flowing.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            upstream_reader, upstream_writer = await self._connect()
        except OSError:
            # nobody listens there now; the client is told in the way that it would see through a balancer
            writer.transport.abort()
            return
        link = Link(writer, upstream_writer)
        self._hold(link)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._up(link, reader), name="proxy up")
                tasks.create_task(self._down(link, upstream_reader), name="proxy down")
        finally:
            self._links.discard(link)
            for each in (writer, upstream_writer):
                each.close()

    async def _up(self, link: Link, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(CHUNK):
                if not link.first_words:
                    link.first_words = data
                    self._hold(link)
                await self._through(link)
                if link.cut_off:
                    return
                link.server.write(self.allowed(link, data))
                await link.server.drain()
            await link.flowing.wait()
        except ConnectionError:
            # one side is gone: so is the other, below
            pass
        finally:
            link.server.close()

    async def _down(self, link: Link, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(CHUNK):
                await self._through(link)
                if link.cut_off:
                    return
                if self._bytes_left is not None:
                    data = data[: self._bytes_left]
                    self._bytes_left -= len(data)
                link.client.write(data)
                await link.client.drain()
                if self._bytes_left == 0:
                    self._bytes_left = None
                    self.cut()
            await link.flowing.wait()
        except ConnectionError:
            pass
        finally:
            link.client.close()

    async def _through(self, link: Link) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await link.flowing.wait()
