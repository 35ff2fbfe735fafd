"""`make up` as a person uses it: one command, an alert that fires, the printed lines, Ctrl-C, and once more."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.local import stack
from deploy.local.demo import HOSTS
from deploy.local.parts import PrometheusParts
from deploy.local.process import REPOSITORY, free_port
from deploy.local.process import service as module
from deploy.local.stack import DEPLOYER, Stack
from deploy.local.table import firing_in
from tests.support.ports import taken_port
from tests.support.processes import children, is_running
from tests.support.waiting import wait_for

START = 170.0
"""Seconds, on a loaded machine."""
PRODUCTION = frozenset(HOSTS["production"])
DEVELOPMENT = frozenset(HOSTS["development"])


class Running:
    """`make up` with its own data folder, and what it has printed."""

    def __init__(self, data: Path, log: Path, *options: str) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local.up", "--data", str(data), *options],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    async def shows(self, words: str) -> str:
        """All it printed, once these words are in it."""

        def there() -> bool:
            assert self.process.poll() is None, self.printed
            return words in self.printed

        await wait_for(there, timeout=START)
        return self.printed

    async def ready(self) -> str:
        return await self.shows("Ctrl-C ends everything")

    def line(self, beginning: str) -> list[str]:
        """The first printed command that begins so, as a shell would take it apart."""
        return shlex.split(next(line for line in self.printed.splitlines() if line.strip().startswith(beginning)))

    def prometheus(self) -> str:
        found = re.search(r"Prometheus +(http://\S+)/alerts", self.printed)
        assert found is not None, self.printed
        return found[1]

    def ports(self) -> set[int]:
        """All that it named."""
        return {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", self.printed)}

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self, timeout: float = 60) -> int:
        """The exit code."""
        return await asyncio.to_thread(self.process.wait, timeout)


@contextmanager
def up(tmp_path: Path, name: str = "first", *options: str) -> Iterator[Running]:
    running = Running(tmp_path / "data", tmp_path / f"{name}.log", *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def rows(printed: str) -> dict[str, list[str]]:
    """The table's cells, by group."""
    cells = (re.split(r" {2,}", line.strip()) for line in printed.splitlines())
    return {row[0]: row[1:] for row in cells if row[0] in HOSTS}


async def call(command: list[str]) -> None:
    """Runs a printed curl line: `curl -sS -X VERB URL -d BODY`."""
    _, _, _, verb, url, _, body = command
    says = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl does with -d
    async with aiohttp.ClientSession() as http, http.request(verb, url, data=body, headers=says) as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.timeout(600)
async def test_the_demo_does_what_it_says_leaves_nothing_behind_and_keeps_its_data(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        assert rows(await first.ready()) == {
            "production": ["web-1 web-2 db-1", "high-cpu-production", "80 %", "yes"],
            "development": ["dev-1 dev-2", "high-cpu-development", "95 %", "no"],
            "lab": ["lab-1", "high-cpu-lab", "off", "no"],
        }
        prometheus = first.prometheus()
        assert await firing_in(prometheus) == PRODUCTION
        assert await ever_fired(prometheus) == {"production"}
        assert await scraped_jobs(prometheus) == {"node", "rule-service", "deployer", "prometheus"}

        await call(first.line("curl -sS -X PATCH"))

        async def both_fire() -> bool:
            return await firing_in(prometheus) == PRODUCTION | DEVELOPMENT

        await wait_for(both_fire, timeout=120, every=0.5)
        if shutil.which("grpcurl"):
            done = await asyncio.to_thread(
                subprocess.run, first.line("grpcurl -plaintext -d"), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr

        await told_elsewhere(first, tmp_path)

        second = Running(tmp_path / "data", tmp_path / "refused.log")
        assert await second.ended() == 1
        assert f"another one is running in {tmp_path}/data, process {first.process.pid}" in second.printed

        started, ports = children(first.process.pid), first.ports()
        folders = [folder for pid in started for folder in folders_of(pid)]
        assert len(folders) >= 2
        assert len(started) == 4
        assert len(ports) == 5
        assert await first.end(signal.SIGINT) == 0
        assert "ended: no process is left" in first.printed
        assert not left_running(started)
        assert not listening(ports)
        assert not [path for folder in (tmp_path, *folders) for path in sockets_in(folder)]
        assert not [folder for folder in folders if folder.exists() and not folder.is_relative_to(tmp_path)]

    with up(tmp_path, "again", "--once") as again:
        assert await again.ended(START) == 0
        assert "4 rules of the alert HighCPU are there already, and were kept" in again.printed
        assert rows(again.printed)["development"] == ["dev-1 dev-2", "high-cpu-development", "85 %", "yes"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("words", ["", "PostgreSQL started", "deployer started"], ids=["at once", "early", "late"])
async def test_a_signal_while_it_starts_ends_it_in_order(words: str, tmp_path: Path) -> None:
    with up(tmp_path) as running:
        await wait_for((tmp_path / "data" / "logs").exists, timeout=START)
        await running.shows(words)
        started = children(running.process.pid)
        assert await running.end(signal.SIGTERM) == 0
        assert not left_running(started)
    with up(tmp_path, "again") as again:
        await again.shows("PostgreSQL started")
        assert await again.end(signal.SIGINT) == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["postgres", "deployer_service"])
async def test_a_part_that_dies_ends_the_whole_and_shows_its_log(part: str, tmp_path: Path) -> None:
    with up(tmp_path) as running:
        await running.shows("waiting for Prometheus")
        started = children(running.process.pid)
        (pid,) = (pid for pid in started if part in command_line(pid))
        os.kill(pid, signal.SIGKILL)
        assert await running.ended() == 1
        assert f"{part} ended with exit code -9. The end of {tmp_path}/data/logs/{part}.log:" in running.printed
        assert not left_running(started)


async def test_a_port_that_somebody_takes_at_the_last_moment_is_replaced(
    tmp_path: Path, prometheus_parts: PrometheusParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken_port() as taken:
        monkeypatch.setattr(stack, "usable_port", lambda preferred: taken if preferred == 50051 else free_port())
        parts = Stack(tmp_path, prometheus_parts, [])
        async with AsyncExitStack() as ending:
            await parts.start(ending, lambda name, work: work)  # type: ignore[arg-type, return-value]
            assert parts.rule_service.ports.grpc != taken


async def told_elsewhere(running: Running, folder: Path) -> None:
    """The story as Compose has it told: by a program of its own, with an exporter of its own."""
    port = free_port()
    hosts = [host for group in HOSTS.values() for host in group]
    address = re.search(r"rule service +gRPC (\S+)", running.printed)
    assert address is not None
    exporter = module("deploy.local.exporter", "--listen", f"127.0.0.1:{port}", *hosts, log=folder / "exporter.log")
    story = module(
        *("deploy.local.story", "--rule-service", address[1], "--deployer", DEPLOYER),
        *("--exporter", f"127.0.0.1:{port}", "--prometheus", running.prometheus()),
        log=folder / "story.log",
    )
    try:
        exporter.start()
        await wait_for(lambda: f"listens on port {port}" in exporter.output(), timeout=START)
        story.start()
        assert await story.ended(timeout=START)
        assert story.exit_code == 0, story.output(1000)
        assert "the alerts in Prometheus are as the rules say they should be" in story.output(1000)
        assert await exporter.stop() == 0
    finally:
        story.kill()
        exporter.kill()


def left_running(pids: Iterable[int]) -> set[int]:
    return {pid for pid in pids if is_running(pid)}


def listening(ports: Iterable[int]) -> set[int]:
    """Those on which somebody answers."""
    answering = set()
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                answering.add(port)
    return answering


def sockets_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


def folders_of(pid: int) -> list[Path]:
    """The folder of PostgreSQL's socket, or the temporary one of a service."""
    socket_folder = re.search(r"/postgres -D \S+ -k (\S+)", command_line(pid))
    return [Path(socket_folder[1])] if socket_folder else list(Path(tempfile.gettempdir()).glob(f"rulecast-{pid}-*"))


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


async def ever_fired(prometheus: str) -> set[str]:
    """The groups whose alert fired at any time in the last ten minutes."""
    query = {"query": 'count_over_time(ALERTS{alertname="HighCPU",alertstate="firing"}[10m])'}
    async with aiohttp.ClientSession() as http, http.get(f"{prometheus}/api/v1/query", params=query) as answer:
        return {series["metric"]["group_id"] for series in (await answer.json())["data"]["result"]}


async def scraped_jobs(prometheus: str) -> set[str]:
    """The jobs whose targets all answer."""
    async with aiohttp.ClientSession() as http, http.get(f"{prometheus}/api/v1/targets") as answer:
        targets = (await answer.json())["data"]["activeTargets"]
    jobs = {target["labels"]["job"] for target in targets}
    return jobs - {target["labels"]["job"] for target in targets if target["health"] != "up"}
