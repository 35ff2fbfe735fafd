"""What the outside sees of a process over HTTP: `/metrics`, `/health`, `/health/live`, `/health/ready`."""

import errno
import logging
import os
import platform
import ssl
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from rulecast.process.addresses import HostPort
from rulecast.process.metrics import GaugeOf
from rulecast.process.supervise import CanNotStart

SOFTWARE_VERSION = version("rulecast")

BUILD_INFO: Final = GaugeOf("rulecast_build_info", "Always 1.", ("service", "version", "python"))

Readiness = Callable[[], str | None]
"""None when the process can do its work, else why not."""


def make_registry(service: str) -> CollectorRegistry:
    """A registry of its own, with the process's metrics and `rulecast_build_info`."""
    # the time when each counter began would be half of all series, and no query asks for it
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = BUILD_INFO.make(registry)
    build.labels(service, SOFTWARE_VERSION, platform.python_version()).set(1)
    return registry


def telemetry_routes(registry: CollectorRegistry, not_ready: Readiness) -> list[web.RouteDef]:
    """`/health/live` answers 200 while the event loop turns; `/health/ready` 503 with the reason when not ready.

    `/health` is for those who know no such difference: the same as `/health/ready`.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(_: web.Request) -> web.Response:
        why = not_ready()
        if why is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "why": why}, status=503)

    return [
        web.get("/metrics", metrics),
        web.get("/health", ready),
        web.get("/health/live", live),
        web.get("/health/ready", ready),
    ]


class HttpListenFailed(CanNotStart):
    """The address can not be listened on; the message says which and why."""


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log, in which what is no HTTP is no error of ours: anybody can send it."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        ours = not isinstance(exc_info, HttpProcessingError)
        self.log(logging.ERROR if ours else logging.INFO, msg, *args, exc_info=exc_info if ours else None, **more)


class HttpServer:
    """An aiohttp application on a port, from `start` to `stop`. tls: None is plain text."""

    def __init__(self, app: web.Application, listen: HostPort, tls: ssl.SSLContext | None = None) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_ServerLog(logging.getLogger("aiohttp.server")),
            handle_signals=False,
            # or a handler whose client went away works on for nobody
            handler_cancellation=True,
            # or a few KiB are unpacked to any size, and what can not be unpacked is logged as an error of ours
            auto_decompress=False,
        )
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
