"""A process frozen with SIGSTOP, as one whose machine is paused."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.waiting import wait_for


@asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    """Entered once every thread of it stands still; it goes on at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await wait_for(lambda: _stands_still(pid))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)
