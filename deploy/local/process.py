"""A child process that is watched while it starts, is stopped in bounded time, and does not outlive this process.

Each child leads a session of its own: a Ctrl-C in the terminal reaches only this process, which stops its children in
the order it wants. Should this process be killed, the kernel ends the children (see leash.py).
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
REPOSITORY = Path(__file__).resolve().parents[2]
POLL = 0.02


class ChildFailed(Exception):
    """A child ended or did not become ready; the message ends with the last lines of its log."""


class Child:
    """One process, started from the main thread.

    `log` is appended to. `death_signal` is what the child gets if this process dies, and `stop_signal` what `stop`
    sends first. `user` is the uid and gid to run as; only root can give one.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path = REPOSITORY,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = environment
        self._folder = folder
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Raises ChildFailed if it was never started."""
        if self._process is None:
            raise ChildFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs or was never started; -N if signal N ended it."""
        if self._process is None:
            return None
        if self._process.returncode is not None:
            return int(self._process.returncode)
        # WNOWAIT leaves it a zombie: its number stays taken until `kill` has signalled its group
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def start(self) -> None:
        """Starts it and returns at once. Raises ChildFailed if it is running already."""
        if self.running:
            raise ChildFailed(f"{self.name} is running already, as process {self.pid}")
        self.kill()
        user = "-" if self._user is None else f"{self._user[0]}:{self._user[1]}"
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(self._death_signal)), user]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*leash, *self._command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self, lines: int = 20) -> str:
        """The last lines it wrote since its latest start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    async def until(self, ready: Callable[[], bool | Awaitable[bool]], *, timeout: float) -> None:
        """Waits for `ready()`. Raises ChildFailed if it ends first, or after `timeout` seconds.

        A child that did not become ready, or was not waited for (cancellation), is killed.
        """
        deadline = time.monotonic() + timeout
        try:
            while True:
                answer = ready()
                if answer if isinstance(answer, bool) else await answer:
                    return
                if not self.running:
                    raise self.failure(f"ended with exit code {self.exit_code}")
                if time.monotonic() > deadline:
                    raise self.failure(f"was not ready after {timeout:g} s")
                await asyncio.sleep(POLL)
        except BaseException:
            self.kill()
            raise

    def failure(self, what: str) -> ChildFailed:
        """The error for what went wrong, with the end of the log."""
        return ChildFailed(f"{self.name} {what}. The end of {self.log}:\n{self.output() or '(nothing)'}")

    async def stop(self, *, grace: float = 10.0) -> int | None:
        """Asks it to end, and kills it and all it started after `grace` seconds or when cancelled. The exit code."""
        if self.running:
            self.signal(self._stop_signal)
        try:
            await self.ended(timeout=grace)
        finally:
            self.kill()
        return self.exit_code

    async def ended(self, *, timeout: float) -> bool:
        """Waits until it has ended; False if it has not after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if not self.running or time.monotonic() > deadline:
                return not self.running
            await asyncio.sleep(POLL)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself. Nothing happens if it has ended."""
        if self._process is not None and self.running:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL, at once, to it and to every process it started that is still in its process group."""
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def service(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Child:
    """`python -m module arguments...` with `environment` added to ours, not yet started."""
    added = {"PYTHONUNBUFFERED": "1", **(environment or {})}
    return Child(module, [sys.executable, "-m", module, *arguments], log=log, environment={**os.environ, **added})


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago. Another process may take it first: retry on failure."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
