"""Deployers that are killed at a chosen system call, each in a process of its own.

`python -m tests.support.crash_runner RULES URL PROMTOOL` reads one job a line, as JSON, forks a child for it that has
everything loaded already, and answers with the child's exit code (-9: it was killed where it should be).
"""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deployer_service.adapters.disk import Disk
from tests.support.deployer_parts import deployer
from tests.support.rule_files import batch

NEVER = 10**9


class DyingDisk(Disk):
    """Kills its process with SIGKILL at the n-th call that changes the disk; a write then stops halfway."""

    def __init__(self, dies_at: int) -> None:
        self._left = dies_at

    def _step(self, path: Path, content: bytes = b"") -> None:
        self._left -= 1
        if self._left > 0:
            return
        if content:
            path.write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self, path: Path, content: bytes, owner: tuple[int, int] | None = None) -> None:
        self._step(path, content)
        super().write(path, content, owner)

    def replace(self, source: Path, target: Path) -> None:
        self._step(target)
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self._step(path)
        super().remove(path)

    def make_directory(self, path: Path) -> None:
        self._step(path)
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._step(path)
        super().sync_directory(path)


class CrashRunner:
    """The parent's side."""

    def __init__(self, rules: Path, url: str, promtool: Path) -> None:
        self._arguments = [str(rules), url, str(promtool)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crash_runner", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((".", "protos"))},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def apply(self, puts: Mapping[str, bytes], deletes: Iterable[str] = (), *, dies_at: int = NEVER) -> bool:
        """A deployer starts, recovers and applies a batch. Whether it lived."""
        encoded = {name: base64.b64encode(content).decode() for name, content in puts.items()}
        return self._run({"puts": encoded, "deletes": sorted(deletes), "dies_at": dies_at})

    def recover(self, *, dies_at: int = NEVER) -> bool:
        """A deployer starts and recovers. Whether it lived."""
        return self._run({"dies_at": dies_at})

    def _run(self, job: Mapping[str, object]) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer in ("0", "-9"), f"the deployer ended with {answer or 'the runner'}"
        return answer == "0"


async def _do(job: Mapping[str, Any], rules: Path, url: str, promtool: Path) -> None:
    async with deployer(rules, url, promtool, disk=DyingDisk(job["dies_at"])) as here:
        await here.pipeline.recover()
        if "puts" in job:
            puts = {name: base64.b64decode(content) for name, content in job["puts"].items()}
            await here.pipeline.apply(batch(puts, job["deletes"], mass_deletion_allowed=True))


def main() -> None:
    rules, url, promtool = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    output = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(_do(json.loads(line), rules, url, promtool))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        os.write(output, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
