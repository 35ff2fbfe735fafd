"""What the health check finds out. Real sockets on loopback; asked from a thread, since it is a program of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from rulecast.process.addresses import HostPort
from rulecast.process.health import Question, why_not
from rulecast.process.telemetry import HttpServer, make_registry, telemetry_routes
from rulecast.process.tls import ServerCertificates, Tls
from tests.support.certificates import Authority
from tests.support.ports import free_port, taken_port


@asynccontextmanager
async def serving(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port."""
    server = HttpServer(app, HostPort("127.0.0.1", 0), tls)
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


async def asked(
    host: str, port: int, timeout: float = 30, *, question: Question = Question.READY, tls: bool = False
) -> str | None:
    return await asyncio.to_thread(why_not, question, HostPort(host, port), tls, timeout)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_it_says_what_the_service_says(host: str) -> None:
    why: list[str] = ["waiting for the database"]
    app = web.Application()
    app.add_routes(telemetry_routes(make_registry("example"), lambda: why[0] if why else None))
    async with serving(app) as port:
        assert await asked(host, port) == "waiting for the database"
        assert await asked(host, port, question=Question.LIVE) is None
        why.clear()
        assert await asked(host, port) is None


async def test_somebody_else_on_the_port_is_not_taken_for_the_service() -> None:
    async with serving(web.Application()) as port:
        assert await asked("127.0.0.1", port) == "it answered with the status 404"


async def test_nobody_and_somebody_silent_are_told_apart() -> None:
    port = free_port()
    assert await asked("127.0.0.1", port) == f"127.0.0.1:{port} does not answer: Connection refused"
    with taken_port() as silent:
        assert await asked("127.0.0.1", silent, timeout=0.2) == f"127.0.0.1:{silent} did not answer within 0.2 s"


@pytest.mark.parametrize("asks_for_one", [False, True])
async def test_a_service_with_tls_is_asked_too_and_shown_no_certificate(tmp_path: Path, asks_for_one: bool) -> None:
    authority = Authority.of(tmp_path)
    pair = authority.sign("service")
    tls = Tls(certificate=pair.certificate, key=pair.key, client_ca=authority.path if asks_for_one else None)
    app = web.Application()
    registry = make_registry("example")
    app.add_routes(telemetry_routes(registry, lambda: None))
    async with serving(app, ServerCertificates(tls, registry).for_http()) as port:
        assert await asked("127.0.0.1", port, tls=True) is None
        assert await asked("127.0.0.1", port) is not None
