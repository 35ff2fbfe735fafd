"""A small node exporter that plays several busy hosts, one path each: `/hosts/web-1/metrics`."""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from aiohttp import web

from deploy.local.process import ChildFailed, free_port

BUSY: Final = 0.90
"""The part of the time that every CPU is busy."""
CORES: Final = 4
_GIB: Final = 1 << 30


def metrics_path(host: str) -> str:
    return f"/hosts/{host}/metrics"


def metrics_text(host: str, uptime: float, now: float) -> str:
    """What a node exporter would say of a host that was started `uptime` seconds ago. now: Unix time, seconds."""
    return "\n".join(_lines(host, uptime, now)) + "\n"


def _lines(host: str, uptime: float, now: float) -> Iterator[str]:
    yield "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode."
    yield "# TYPE node_cpu_seconds_total counter"
    for core in range(CORES):
        for mode, share in (("idle", 1 - BUSY), ("user", BUSY * 0.8), ("system", BUSY * 0.2)):
            yield f'node_cpu_seconds_total{{cpu="{core}",mode="{mode}"}} {uptime * share:.3f}'
    gauges = {
        "node_load1": CORES * BUSY,
        "node_memory_MemTotal_bytes": 16 * _GIB,
        "node_memory_MemAvailable_bytes": 9 * _GIB,
        "node_time_seconds": now,
        "node_boot_time_seconds": now - uptime,
        "node_timex_sync_status": 1,
        "node_timex_offset_seconds": 0.0001,
    }
    for name, value in gauges.items():
        yield f"# TYPE {name} gauge"
        yield f"{name} {value!r}"
    disk = 'device="/dev/vda1",fstype="ext4",mountpoint="/"'
    for name, size in (("size", 100 * _GIB), ("avail", 60 * _GIB), ("free", 60 * _GIB)):
        yield f"# TYPE node_filesystem_{name}_bytes gauge"
        yield f"node_filesystem_{name}_bytes{{{disk}}} {size}"
    yield "# TYPE node_uname_info gauge"
    yield f'node_uname_info{{nodename="{host}",sysname="Linux"}} 1'


class DemoExporter:
    """Serves the metrics of `hosts` on 127.0.0.1, from `start` to `stop`. The preferred port, or a free one."""

    def __init__(self, hosts: Sequence[str], port: int, clock: Callable[[], float] = time.time) -> None:
        self.port = port
        self._hosts = frozenset(hosts)
        self._clock = clock
        self._began = clock()
        app = web.Application()
        app.router.add_get("/hosts/{host}/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Raises ChildFailed when no port can be had."""
        await self._runner.setup()
        for port in (self.port, free_port(), free_port()):
            try:
                await web.TCPSite(self._runner, "127.0.0.1", port).start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                self.port = port
                return
        await self._runner.cleanup()
        raise ChildFailed("the demo exporter found no free port")

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        host = request.match_info["host"]
        if host not in self._hosts:
            raise web.HTTPNotFound(text=f"there is no host {host} here\n")
        now = self._clock()
        # an hour's head start: a counter that begins at 0 looks like a reset
        return web.Response(text=metrics_text(host, now - self._began + 3600, now))
