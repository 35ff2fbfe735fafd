"""What the outside sees of a process over HTTP: `/metrics`, `/health/live`, `/health/ready`."""

import errno
import os
import platform
import ssl
from collections.abc import Callable
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from rulecast.process.addresses import HostPort
from rulecast.process.supervise import CanNotStart

SOFTWARE_VERSION = version("rulecast")

Readiness = Callable[[], str | None]
"""None when the process can do its work, else why not."""


def make_registry(service: str) -> CollectorRegistry:
    """A registry of its own, with the process's metrics and `rulecast_build_info`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge("rulecast_build_info", "Always 1.", ["service", "version", "python"], registry=registry)
    build.labels(service, SOFTWARE_VERSION, platform.python_version()).set(1)
    return registry


def telemetry_routes(registry: CollectorRegistry, not_ready: Readiness) -> list[web.RouteDef]:
    """`/health/live` answers 200 while the event loop turns; `/health/ready` 503 with the reason when not ready."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(_: web.Request) -> web.Response:
        why = not_ready()
        if why is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "why": why}, status=503)

    return [web.get("/metrics", metrics), web.get("/health/live", live), web.get("/health/ready", ready)]


class HttpListenFailed(CanNotStart):
    """The address can not be listened on; the message says which and why."""


class HttpServer:
    """An aiohttp application on a port, from `start` to `stop`. tls: None is plain text."""

    def __init__(self, app: web.Application, listen: HostPort, tls: ssl.SSLContext | None = None) -> None:
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        self._listen = listen
        self._tls = tls

    async def start(self) -> int:
        """Listens and returns the port. Raises HttpListenFailed."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._listen.host, self._listen.port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            why = "it is in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            raise HttpListenFailed(
                f"can not listen on {self._listen}: {why}; stop what uses it or choose another"
            ) from error
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        await self._runner.cleanup()
