"""`make up`: the whole of Rulecast on this machine, with a demo, until Ctrl-C.

PostgreSQL, the rule service, a Prometheus, a deployer and an exporter that plays a few busy hosts. All that is kept
lies in `.rulecast/` of the checkout; delete it to start afresh.
"""

import argparse
import asyncio
import contextlib
import fcntl
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc
import yaml
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.local.cache import cache_dir
from deploy.local.demo import HOSTS, Demo
from deploy.local.exporter import DemoExporter
from deploy.local.parts import PartsMissing, find_prometheus
from deploy.local.postgres import PostgresMissing, PostgresServer
from deploy.local.process import REPOSITORY, Child, ChildFailed, free_port, service
from deploy.local.prometheus import PrometheusServer
from deploy.local.table import expected, firing_in, table

DATA: Final = REPOSITORY / ".rulecast"
START: Final = 120.0
"""Seconds that a service may take to start."""
FIRE: Final = 90.0
"""Seconds after which the alerts are looked at as they are."""


class Failed(Exception):
    """It does not go on; the message says what happened."""


class Up:
    """Starts everything in order, tells the story, and watches what it started."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._watched: list[Child] = []
        self._prometheus: PrometheusServer | None = None

    async def run(self, once: bool) -> None:
        """Until it is cancelled; with `once` until the story is told. Raises Failed when a part ends by itself."""
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            stack.callback(print, "\nended", flush=True)
            where = await self._start(stack)
            await self._tell(where)
            print(_addresses(where), flush=True)
            print(f"\nReady after {time.monotonic() - began:.0f} s. What is kept lies in {_short(self._data)}/.")
            if not once:
                print("Ctrl-C ends everything.", flush=True)
                await self._watch()

    async def _start(self, stack: AsyncExitStack) -> "Where":
        logs, rules = self._data / "logs", self._data / "rules"
        rules.mkdir(parents=True, exist_ok=True)
        parts = await asyncio.to_thread(find_prometheus, cache_dir(), say=lambda words: print(f"         {words}"))

        postgres = PostgresServer(self._data / "postgres", log=logs / "postgres.log")
        await _step("PostgreSQL", stack.enter_async_context(postgres))

        exporter = DemoExporter([host for hosts in HOSTS.values() for host in hosts], 9100)
        await _step("demo exporter", exporter.start(), lambda: f"plays {sum(map(len, HOSTS.values()))} hosts")
        stack.push_async_callback(exporter.stop)

        grpc_port, http_port = _port(50051), _port(8080)
        rule_service = service(
            "rule_service",
            "serve",
            log=logs / "rule_service.log",
            environment={
                "RULE_SERVICE_DATABASE_URL": postgres.url(),
                "RULE_SERVICE_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
                "RULE_SERVICE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
                "PROMTOOL_PATH": str(parts.promtool),
            },
        )
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", _EAGER)
        stack.push_async_callback(channel.close)
        await _step("rule service", self._serve(rule_service, channel, stack))

        where = Where(exporter.port, grpc_port, http_port, _port(50052), _port(8081), _port(9090), channel)
        config = self._data / "prometheus.yml"
        config.write_text(_prometheus_config(rules, where))
        prometheus = PrometheusServer(
            parts,
            config=config,
            data=self._data / "prometheus",
            log=logs / "prometheus.log",
            port=where.prometheus,
        )
        await _step(f"Prometheus {parts.version}", stack.enter_async_context(prometheus))
        self._prometheus = prometheus
        where.prometheus = prometheus.port

        deployer = service(
            "deployer_service",
            "serve",
            log=logs / "deployer_service.log",
            environment={
                "DEPLOYER_ID": "demo",
                "DEPLOYER_RULE_SERVICE": f"127.0.0.1:{grpc_port}",
                "DEPLOYER_GRPC_LISTEN": f"127.0.0.1:{where.deployer_grpc}",
                "DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{where.deployer_http}",
                "PROMETHEUS_URL": prometheus.url,
                "PROMETHEUS_RULE_PATH": str(rules),
                "PROMTOOL_PATH": str(parts.promtool),
            },
        )
        at_deployer = grpc.aio.insecure_channel(f"127.0.0.1:{where.deployer_grpc}", _EAGER)
        stack.push_async_callback(at_deployer.close)
        await _step("deployer", self._serve(deployer, at_deployer, stack))
        return where

    async def _serve(self, child: Child, channel: grpc.aio.Channel, stack: AsyncExitStack) -> None:
        """Starts a service and waits until its health says that it serves."""
        stack.push_async_callback(child.stop)
        child.start()
        await child.until(lambda: _serving(channel), timeout=START)
        self._watched.append(child)

    async def _tell(self, where: "Where") -> None:
        demo = Demo(where.channel)
        await _told(demo.load_library())
        await _told(demo.create_groups())
        await _told(demo.create_targets(where.exporter))
        await _told(demo.create_rules())
        await _told(demo.wait_until_active())
        applied = await demo.applied()
        should = {group: hosts for group, hosts in expected(applied).items() if hosts}
        await _told(self._alerts(where.prometheus_url, should))
        print(f"\n{table(applied, await firing_in(where.prometheus_url))}\n", flush=True)

    async def _alerts(self, prometheus: str, should: dict[str, frozenset[str]]) -> str:
        """Waits until Prometheus says that exactly these fire."""
        deadline = time.monotonic() + FIRE
        while await firing_in(prometheus) != should:
            self._check()
            if time.monotonic() > deadline:
                return f"after {FIRE:.0f} s the alerts are not yet as the rules say they should be"
            await asyncio.sleep(0.5)
        return "the alerts in Prometheus are as the rules say they should be"

    async def _watch(self) -> None:
        while True:
            self._check()
            await asyncio.sleep(0.5)

    def _check(self) -> None:
        for child in self._watched:
            if not child.running:
                raise Failed(str(child.failure(f"ended with exit code {child.exit_code}")))
        if self._prometheus is not None and not self._prometheus.running:
            raise Failed(f"prometheus ended:\n{self._prometheus.output()}")


class Where:
    """The ports in use, and the channel to the rule service."""

    def __init__(
        self,
        exporter: int,
        grpc_port: int,
        http_port: int,
        deployer_grpc: int,
        deployer_http: int,
        prometheus: int,
        channel: grpc.aio.Channel,
    ) -> None:
        self.exporter = exporter
        self.grpc = grpc_port
        self.http = http_port
        self.deployer_grpc = deployer_grpc
        self.deployer_http = deployer_http
        self.prometheus = prometheus
        self.channel = channel

    @property
    def prometheus_url(self) -> str:
        return f"http://127.0.0.1:{self.prometheus}"


_EAGER: Final = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500))


async def _serving(channel: grpc.aio.Channel) -> bool:
    try:
        answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)  # type: ignore[attr-defined]
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _step(name: str, work: Awaitable[object], more: Callable[[], str] = str) -> None:
    began = time.monotonic()
    await work
    _say(time.monotonic() - began, f"{name} {more() or 'started'}")


async def _told(work: Awaitable[str]) -> None:
    began = time.monotonic()
    words = await work
    _say(time.monotonic() - began, words)


def _say(seconds: float, words: str) -> None:
    print(f"{seconds:6.1f} s  {words}", flush=True)


def _port(preferred: int) -> int:
    """The preferred port if it is free, else another one."""
    with socket.socket() as probe:
        # as a server does: a connection that is just closing does not take the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", preferred))
            return preferred
    return free_port()


def _prometheus_config(rules: Path, where: Where) -> str:
    """Short intervals, so that a person sees an alert soon. The hosts are found by Rulecast's service discovery."""
    own = {"rule_service": where.http, "deployer": where.deployer_http, "prometheus": where.prometheus}
    discovery = f"http://127.0.0.1:{where.http}/api/v1/sd/prometheus"
    jobs = [
        {"job_name": "node", "http_sd_configs": [{"url": discovery, "refresh_interval": "5s"}]},
        *({"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for name, port in own.items()),
    ]
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": jobs,
    }
    return yaml.safe_dump(config, sort_keys=False)


def _addresses(where: Where) -> str:
    rpc, api = f"127.0.0.1:{where.grpc}", f"http://127.0.0.1:{where.http}"
    change = (
        '{"rule": {"id": "high-cpu-development", "config": {"parameters": {"threshold": 85}}}, "wait_for": "ACTIVE"}'
    )
    body = '{"rule": {"config": {"parameters": {"threshold": 95}}}, "wait_for": "ACTIVE"}'
    service_name = "rulecast.v1.AlertRuleService"
    return f"""\
Prometheus    {where.prometheus_url}/alerts
rule service  gRPC {rpc} (reflection is on), HTTP {api} (try {api}/api/v1/docs)
deployer      gRPC 127.0.0.1:{where.deployer_grpc}, HTTP http://127.0.0.1:{where.deployer_http}

Lower the threshold for development to 85 %; its hosts are at 90 %, so they fire some 20 s later:
  grpcurl -plaintext -d '{change}' {rpc} {service_name}/UpdateAlertRule
And back to 95 %, over HTTP:
  curl -X PATCH {api}/api/v1/alert-rules/high-cpu-development -d '{body}'
Which rules apply to a host, and why:
  curl {api}/api/v1/prometheus/rules/effective/dev-1
  grpcurl -plaintext -d '{{"target_id": "dev-1", "key": "high-cpu"}}' {rpc} {service_name}/ExplainRule
What each Prometheus runs:
  curl {api}/api/v1/prometheus/status
All there is:
  grpcurl -plaintext {rpc} list
"""


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


async def _until_told(up: Up, once: bool) -> int:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with asyncio.TaskGroup() as group:
        story = group.create_task(_outcome(up, once), name="story")
        waiting = group.create_task(told.wait(), name="signal")
        await asyncio.wait([story, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not story.done():
            story.cancel()
        await asyncio.wait([story])
    return 0 if story.cancelled() else story.result()


async def _outcome(up: Up, once: bool) -> int:
    try:
        await up.run(once)
    except (Failed, ChildFailed, PartsMissing, PostgresMissing, RuntimeError, grpc.aio.AioRpcError) as error:
        words = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)
        print(f"\nmake up: {words}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy.local.up", description="Rulecast with a demo, on this machine.")
    parser.add_argument("--once", action="store_true", help="end when the demo was shown")
    parser.add_argument("--data", type=Path, default=DATA, help="folder for all that is kept")
    arguments = parser.parse_args()
    data = arguments.data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"make up: another one is running in {_short(data)}; end it first", file=sys.stderr)
            return 1
        return asyncio.run(_until_told(Up(data), arguments.once))


if __name__ == "__main__":
    sys.exit(main())
