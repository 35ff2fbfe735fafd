"""The parts of `make up`, started one after the other, and watched from then on."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import grpc
import yaml
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.local.exporter import DemoExporter
from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from deploy.local.process import Child, ChildFailed, free_port, service
from deploy.local.prometheus import PrometheusServer
from rulecast.rpc.channel import open_channel

DEPLOYER: Final = "demo"
"""The deployer's name."""

T = TypeVar("T")

_START: Final = 120.0
"""Seconds that a service may take to start."""
_LOOK_EVERY: Final = 0.2
_TRIES: Final = 3
_PORT_TAKEN: Final = "can not listen on"
_OURS: Final = {"RULECAST_CONFIG": ""}
"""Over what the caller's environment may say: it is about another service."""

Started = Callable[[str, Awaitable[object]], Awaitable[None]]
"""Waits for a part to start, and tells what it took."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of one service, on 127.0.0.1."""

    grpc: int
    http: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"


@dataclass(frozen=True, slots=True)
class Running:
    """A service that serves."""

    ports: Ports
    channel: grpc.aio.Channel


class Stack:
    """data: the folder for all that is kept. hosts: those that the exporter plays. The properties hold once started."""

    def __init__(self, data: Path, parts: PrometheusParts, hosts: list[str]) -> None:
        self.exporter = DemoExporter(hosts, 9100)
        self._data = data
        self._parts = parts
        self._watched: list[Child] = []
        self._rule_service: Running | None = None
        self._deployer: Running | None = None
        self._prometheus: PrometheusServer | None = None

    @property
    def rule_service(self) -> Running:
        return _there(self._rule_service)

    @property
    def deployer(self) -> Running:
        return _there(self._deployer)

    @property
    def prometheus(self) -> PrometheusServer:
        return _there(self._prometheus)

    async def start(self, stack: AsyncExitStack, started: Started) -> None:
        """Whatever has started is ended by `stack`, the last one first. Raises ChildFailed."""
        postgres = PostgresServer(self._data / "postgres", log=self._log("postgres"))
        await started("PostgreSQL", stack.enter_async_context(postgres))
        self._watched.append(postgres.process)
        stack.push_async_callback(self.exporter.stop)
        await started("demo exporter", self.exporter.start())
        await started("rule service", self._start_rule_service(stack, postgres))
        await started(f"Prometheus {self._parts.version}", self._start_prometheus(stack))
        await started("deployer", self._start_deployer(stack))
        self._scrape_services()

    async def watch(self) -> NoReturn:
        """Raises ChildFailed, with the end of its log, when a part ends that should not."""
        while True:
            for child in self._watched:
                if not child.running:
                    raise child.failure(f"ended with exit code {child.exit_code}")
            await asyncio.sleep(_LOOK_EVERY)

    def _log(self, name: str) -> Path:
        return self._data / "logs" / f"{name}.log"

    async def _start_rule_service(self, stack: AsyncExitStack, postgres: PostgresServer) -> None:
        self._rule_service = await self._serve(
            stack,
            "rule_service",
            Ports(50051, 8080),
            lambda ports: {
                "RULE_SERVICE_DATABASE_URL": postgres.url(),
                "RULE_SERVICE_GRPC_LISTEN": ports.address,
                "RULE_SERVICE_HTTP_LISTEN": f"127.0.0.1:{ports.http}",
            },
        )

    async def _start_prometheus(self, stack: AsyncExitStack) -> None:
        rules, config = self._data / "rules", self._data / "prometheus.yml"
        rules.mkdir(parents=True, exist_ok=True)
        self._services_file.write_text("[]")
        config.write_text(prometheus_config(rules, self.rule_service.ports.url, self._services_file))
        self._prometheus = PrometheusServer(
            self._parts,
            config=config,
            data=self._data / "prometheus",
            log=self._log("prometheus"),
            port=usable_port(9090),
        )
        await stack.enter_async_context(self._prometheus)
        self._watched.append(self._prometheus.process)

    async def _start_deployer(self, stack: AsyncExitStack) -> None:
        self._deployer = await self._serve(
            stack,
            "deployer_service",
            Ports(50052, 8081),
            lambda ports: {
                "DEPLOYER_ID": DEPLOYER,
                "DEPLOYER_RULE_SERVICE": self.rule_service.ports.address,
                "DEPLOYER_GRPC_LISTEN": ports.address,
                "DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{ports.http}",
                "PROMETHEUS_URL": self.prometheus.url,
                "PROMETHEUS_RULE_PATH": str(self._data / "rules"),
            },
        )

    async def _serve(
        self, stack: AsyncExitStack, module: str, preferred: Ports, environment: Callable[[Ports], Mapping[str, str]]
    ) -> Running:
        """A service that says of itself that it serves. Another process may take a free port first: then others."""
        ports = Ports(usable_port(preferred.grpc), usable_port(preferred.http))
        for left in reversed(range(_TRIES)):
            added = {**_OURS, "PROMTOOL_PATH": str(self._parts.promtool), **environment(ports)}
            child = service(module, "serve", log=self._log(module), environment=added)
            async with AsyncExitStack() as attempt:
                channel = open_channel(ports.address)
                attempt.push_async_callback(channel.close)
                attempt.push_async_callback(child.stop)
                child.start()
                try:
                    await child.until(partial(_serving, channel), timeout=_START)
                except ChildFailed:
                    if not left or _PORT_TAKEN not in child.output():
                        raise
                    ports = Ports(free_port(), free_port())
                    continue
                stack.push_async_exit(attempt.pop_all())
            self._watched.append(child)
            return Running(ports, channel)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _services_file(self) -> Path:
        return self._data / "services.json"

    def _scrape_services(self) -> None:
        """Tells Prometheus where the parts are; it looks after the file by itself."""
        own = {
            "rule-service": self.rule_service.ports.http,
            "deployer": self.deployer.ports.http,
            "prometheus": self.prometheus.port,
        }
        targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"job": job}} for job, port in own.items()]
        fresh = self._services_file.with_suffix(".new")
        fresh.write_text(json.dumps(targets))
        fresh.rename(self._services_file)


def prometheus_config(rules: Path, rule_service: str, services: Path) -> str:
    """Short intervals, so that a person sees an alert soon. The hosts are found by Rulecast's service discovery."""
    discovery = {"url": f"{rule_service}/api/v1/sd/prometheus", "refresh_interval": "2s"}
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [
            {"job_name": "node", "http_sd_configs": [discovery]},
            {"job_name": "services", "file_sd_configs": [{"files": [str(services)], "refresh_interval": "2s"}]},
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)


def usable_port(preferred: int) -> int:
    """The preferred port of 127.0.0.1 if it is free, else another one."""
    with socket.socket() as probe:
        # as a server does: a connection that is just closing does not take the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", preferred))
            return preferred
    return free_port()


async def _serving(channel: grpc.aio.Channel) -> bool:
    try:
        answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)  # type: ignore[attr-defined]
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _there(part: T | None) -> T:
    if part is None:
        raise ChildFailed("it was not started")
    return part
