"""`make up` as a person uses it: one command, an alert that fires, the printed lines, Ctrl-C, and once more."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.local.process import REPOSITORY
from deploy.local.table import firing_in
from tests.support.processes import children, is_running
from tests.support.waiting import wait_for

START = 170.0
"""Seconds, on a loaded machine."""
PRODUCTION = frozenset({"web-1", "web-2", "db-1"})
DEVELOPMENT = frozenset({"dev-1", "dev-2"})


class Running:
    """`make up` with its own data folder, and what it has printed."""

    def __init__(self, data: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "deploy.local.up", "--data", str(data)],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    async def shown(self) -> str:
        """All it printed, once the demo is there."""

        def there() -> bool:
            assert self.process.poll() is None, self.printed
            return "Ctrl-C ends everything" in self.printed

        await wait_for(there, timeout=START)
        return self.printed

    def line(self, beginning: str) -> list[str]:
        """A printed command, as a shell would take it apart."""
        return shlex.split(next(line for line in self.printed.splitlines() if line.strip().startswith(beginning)))

    def prometheus(self) -> str:
        found = re.search(r"Prometheus +(http://\S+)/alerts", self.printed)
        assert found is not None, self.printed
        return found[1]

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 60)


@contextmanager
def up(tmp_path: Path, name: str = "first") -> Iterator[Running]:
    running = Running(tmp_path / "data", tmp_path / f"{name}.log")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def rows(printed: str) -> dict[str, list[str]]:
    """The table's cells, by group."""
    cells = (re.split(r" {2,}", line.strip()) for line in printed.splitlines())
    return {row[0]: row[1:] for row in cells if row[0] in ("production", "development", "lab")}


async def call(command: list[str]) -> None:
    """Runs a printed curl line: `curl -X VERB URL -d BODY`."""
    _, _, verb, url, _, body = command
    async with aiohttp.ClientSession() as http, http.request(verb, url, data=body) as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.timeout(600)
async def test_the_demo_does_what_it_says_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        table = rows(await first.shown())
        assert table["production"][1:3] == ["high-cpu-production", "80 %"]
        assert table["development"][1:] == ["high-cpu-development", "95 %", "no"]
        assert table["lab"][1:] == ["high-cpu-lab", "off", "no"]
        assert await firing_in(first.prometheus()) == {"production": PRODUCTION}

        lower = first.line("curl -X PATCH")
        lower[-1] = lower[-1].replace("95", "85")
        await call(lower)
        prometheus = first.prometheus()

        async def both_fire() -> bool:
            return await firing_in(prometheus) == {"production": PRODUCTION, "development": DEVELOPMENT}

        await wait_for(both_fire, timeout=120, every=0.5)
        if shutil.which("grpcurl"):
            done = await asyncio.to_thread(
                subprocess.run, first.line("grpcurl -plaintext -d"), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr

        second = Running(tmp_path / "data", tmp_path / "refused.log")
        assert await asyncio.to_thread(second.process.wait, 60) == 1
        assert "another one is running" in second.printed

        started = children(first.process.pid)
        assert len(started) >= 4
        assert await first.end(signal.SIGINT) == 0
        assert not left_running(started)
        assert not sockets_in(tmp_path)

    with up(tmp_path, "again") as again:
        printed = await again.shown()
        assert "4 rules of the alert HighCPU are there already, and were kept" in printed
        assert rows(printed)["development"][2] == "85 %"
        assert await again.end(signal.SIGTERM) == 0


@pytest.mark.timeout(300)
async def test_ctrl_c_while_it_starts_ends_it_in_order(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        await wait_for(lambda: "PostgreSQL started" in running.printed, timeout=START)
        started = children(running.process.pid)
        assert await running.end(signal.SIGINT) == 0
        assert not left_running(started)


@pytest.mark.timeout(300)
async def test_a_part_that_dies_ends_the_whole_and_shows_its_log(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        await running.shown()
        (pid,) = pids_of(running.process.pid, "deployer_service")
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.to_thread(running.process.wait, 60) == 1
        assert "deployer_service ended" in running.printed
        assert "deployer_service.log" in running.printed


def left_running(pids: Iterable[int]) -> set[int]:
    return {pid for pid in pids if is_running(pid)}


def sockets_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


def pids_of(parent: int, module: str) -> list[int]:
    """The children that run a module."""
    named = ((pid, Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in children(parent))
    return [pid for pid, command in named if module.encode() in command]
