"""A small node exporter that plays several busy hosts, one path each: `/hosts/web-1/metrics`.

`python -m deploy.local.exporter` runs it alone, for deploy/compose.yaml.
"""

import argparse
import asyncio
import errno
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from aiohttp import web

from deploy.local.process import ChildFailed, free_port
from rulecast.process.addresses import HostPort

BUSY: Final = 0.902
"""The part of the time that every CPU is busy. Not 0.9: the alert would flicker at a threshold of 90 %."""
CORES: Final = 4

_BOOT: Final = 1_750_000_000.0
"""Unix time. The same after every start, so that no counter ever falls: Prometheus would take it for a reset."""
_GIB: Final = 1 << 30
_MODES: Final = {"idle": 1 - BUSY, "user": BUSY * 0.8, "system": BUSY * 0.15, "iowait": BUSY * 0.05}
_DISK: Final = {"device": "/dev/vda1", "fstype": "ext4", "mountpoint": "/"}
_NETWORK: Final = {"device": "eth0"}

Labels = Mapping[str, str]


def metrics_path(host: str) -> str:
    return f"/hosts/{host}/metrics"


def metrics_text(host: str, now: float) -> str:
    """What the node exporter of a healthy host with busy CPUs says. now: Unix time, seconds."""
    return "".join(_lines(_gauges(host, now), "gauge")) + "".join(_lines(_counters(now - _BOOT), "counter"))


def _gauges(host: str, now: float) -> Iterator[tuple[str, Labels, float]]:
    yield "node_uname_info", {"nodename": host, "sysname": "Linux"}, 1
    yield "node_boot_time_seconds", {}, _BOOT
    yield "node_time_seconds", {}, now
    yield "node_timex_sync_status", {}, 1
    yield "node_timex_maxerror_seconds", {}, 0.002
    for minutes in (1, 5, 15):
        yield f"node_load{minutes}", {}, CORES * BUSY
    yield "node_memory_MemTotal_bytes", {}, 16 * _GIB
    yield "node_memory_MemAvailable_bytes", {}, 9 * _GIB
    yield "node_filesystem_size_bytes", _DISK, 100 * _GIB
    yield "node_filesystem_avail_bytes", _DISK, 60 * _GIB
    yield "node_filesystem_files", _DISK, 6_500_000
    yield "node_filesystem_files_free", _DISK, 6_100_000
    yield "node_filesystem_readonly", _DISK, 0
    yield "node_network_speed_bytes", _NETWORK, 125_000_000
    yield "node_nf_conntrack_entries", {}, 900
    yield "node_nf_conntrack_entries_limit", {}, 262_144
    yield "node_vmstat_oom_kill", {}, 0
    yield "node_hwmon_temp_celsius", {"chip": "platform_coretemp_0", "sensor": "temp1"}, 61
    for state in ("active", "failed"):
        yield "node_systemd_unit_state", {"name": "ssh.service", "state": state}, float(state == "active")


def _counters(uptime: float) -> Iterator[tuple[str, Labels, float]]:
    for core in range(CORES):
        for mode, share in _MODES.items():
            yield "node_cpu_seconds_total", {"cpu": str(core), "mode": mode}, uptime * share
    yield "node_pressure_memory_stalled_seconds_total", {}, uptime * 0.001
    yield "node_disk_io_time_weighted_seconds_total", {"device": "vda"}, uptime * 0.4
    for direction in ("receive", "transmit"):
        yield f"node_network_{direction}_bytes_total", _NETWORK, uptime * 2_000_000
        yield f"node_network_{direction}_packets_total", _NETWORK, uptime * 3_000
        yield f"node_network_{direction}_errs_total", _NETWORK, 0


def _lines(samples: Iterator[tuple[str, Labels, float]], kind: str) -> Iterator[str]:
    last = ""
    for name, labels, value in sorted(samples, key=lambda sample: sample[0]):
        if name != last:
            yield f"# TYPE {name} {kind}\n"
            last = name
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        yield f"{name}{{{inside}}} {value!r}\n"


class DemoExporter:
    """Serves the metrics of `hosts` on `host`, from `start` to `stop`. The preferred port, or a free one."""

    def __init__(
        self, hosts: Sequence[str], port: int, clock: Callable[[], float] = time.time, *, host: str = "127.0.0.1"
    ) -> None:
        self.port = port
        self._host = host
        self._hosts = frozenset(hosts)
        self._clock = clock
        app = web.Application()
        app.router.add_get(metrics_path("{host}"), self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Raises ChildFailed when no port can be had."""
        await self._runner.setup()
        for port in (self.port, free_port(), free_port()):
            try:
                await web.TCPSite(self._runner, self._host, port).start()
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
        return web.Response(text=metrics_text(host, self._clock()))


async def _serve(listen: HostPort, hosts: Sequence[str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    exporter = DemoExporter(hosts, listen.port, host=listen.host)
    await exporter.start()
    try:
        print(f"the demo exporter listens on port {exporter.port}", flush=True)
        await stop.wait()
    finally:
        await exporter.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.exporter", description=__doc__)
    parser.add_argument("--listen", required=True, type=HostPort.parse, metavar="HOST:PORT")
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="the names of the hosts to play")
    given = parser.parse_args()
    asyncio.run(_serve(given.listen, given.hosts))


if __name__ == "__main__":
    main()
