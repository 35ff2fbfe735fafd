"""What a process shows over HTTP. Real sockets on loopback: aiohttp has no other way in."""

import aiohttp
import pytest
from aiohttp import web

from rulecast.process.addresses import HostPort
from rulecast.process.telemetry import HttpListenFailed, HttpServer, make_registry, telemetry_routes
from tests.support.ports import taken_port


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_live_ready_and_metrics() -> None:
    why: list[str] = ["starting"]
    app = web.Application()
    app.add_routes(telemetry_routes(make_registry("example"), lambda: why[0] if why else None))
    server = HttpServer(app, HostPort("127.0.0.1", 0))
    port = await server.start()
    try:
        assert (await get(port, "/health/live"))[0] == 200
        for path in ("/health/ready", "/health"):
            assert await get(port, path) == (503, '{"status": "not ready", "why": "starting"}')
        why.clear()
        for path in ("/health/ready", "/health"):
            assert await get(port, path) == (200, '{"status": "ready"}')
        status, metrics = await get(port, "/metrics")
        assert status == 200
        assert 'rulecast_build_info{python="' in metrics
        assert "process_resident_memory_bytes" in metrics
    finally:
        await server.stop()


async def test_a_port_in_use_is_a_clear_error() -> None:
    with taken_port() as port:
        server = HttpServer(web.Application(), HostPort("127.0.0.1", port))

        with pytest.raises(HttpListenFailed, match=f"can not listen on 127.0.0.1:{port}: it is in use"):
            await server.start()
