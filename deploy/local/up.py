"""`make up`: the whole of Rulecast on this machine, with a demo, until Ctrl-C.

PostgreSQL, the rule service, a Prometheus, a deployer and an exporter that plays a few busy hosts. All that is kept
lies in `.rulecast/` of the checkout; delete it to start afresh.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import grpc

from deploy.local.cache import cache_dir
from deploy.local.demo import HOSTS, Demo, DemoFailed
from deploy.local.parts import PartsMissing, PrometheusParts, find_prometheus
from deploy.local.postgres import PostgresMissing
from deploy.local.process import REPOSITORY, ChildFailed
from deploy.local.stack import DEPLOYER, Stack
from deploy.local.story import Places, say, tell
from rulecast.process.addresses import HostPort

DATA: Final = REPOSITORY / ".rulecast"
_AFTERMATH: Final = 1.0
"""Seconds in which a part that died is found out, when a call to it has failed."""


class DataUnusable(Exception):
    """The data folder is somebody else's, or in use; the message says whose, and what to do."""


TOLD: Final = (
    ChildFailed,
    PartsMissing,
    PostgresMissing,
    DemoFailed,
    DataUnusable,
    OSError,
    aiohttp.ClientError,
    grpc.aio.AioRpcError,
)
"""Errors whose message is all that a person needs."""


async def run(data: Path, parts: PrometheusParts, once: bool) -> bool:
    """Until it is cancelled; with `once` until all was shown. Whether the alerts were as they should be.

    Raises ChildFailed, alone or in a group, when a part ends by itself.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.callback(print, "\nended: no process is left", flush=True)
        up = Stack(data, parts, [host for hosts in HOSTS.values() for host in hosts])
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(up.watch(), name="watch")
            try:
                await up.start(stack, _started)
                as_expected = await _show(up, Demo(up.rule_service.channel))
                print(f"\nReady after {time.monotonic() - began:.0f} s. What is kept lies in {_short(data)}/;", end=" ")
                print("delete it to start afresh.", flush=True)
                if not once:
                    print("Ctrl-C ends everything.", flush=True)
                    await asyncio.Event().wait()
            except (grpc.aio.AioRpcError, aiohttp.ClientError, DemoFailed):
                await asyncio.sleep(_AFTERMATH)
                raise
            finally:
                watching.cancel()
    return as_expected


@contextmanager
def claimed(data: Path) -> Iterator[None]:
    """Raises DataUnusable while another process has the folder."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("a+")
    except PermissionError:
        whose = "root, perhaps; delete it as that user, or choose another folder with --data"
        raise DataUnusable(f"{_short(data)} belongs to another user, {whose}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DataUnusable(
                f"another one is running in {_short(data)}, process {lock.read() or '?'}; end it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


async def _show(up: Stack, demo: Demo) -> bool:
    """Tells the story, and where everything is. Whether the alerts are as they should be."""
    as_expected = await tell(demo, DEPLOYER, HostPort("127.0.0.1", up.exporter.port), up.prometheus.url)
    rules, deployer = up.rule_service.ports, up.deployer.ports
    places = Places(up.prometheus.url, rules.address, rules.url, deployer.address, deployer.url)
    print(f"\n{places.text(await demo.newest_revision())}", flush=True)
    return as_expected


async def _started(name: str, work: Awaitable[object]) -> None:
    began = time.monotonic()
    await work
    say(time.monotonic() - began, f"{name} started")


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


async def _until_told(data: Path, parts: PrometheusParts, once: bool) -> bool:
    """A signal ends everything in order; a second one kills what is still ending."""
    task = asyncio.current_task()
    assert task is not None
    for number in _signals():
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run(data, parts, once)


def _signals() -> list[signal.Signals]:
    """Those that end it. A hang-up does not, where the caller has it ignored (nohup)."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


def _reason(error: BaseException) -> str:
    """One error, in words for a person."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, grpc.aio.AioRpcError):
        return f"the rule service answered {error.code().name}: {error.details()}"
    if isinstance(error, TOLD):
        return str(error) or type(error).__name__
    raise error


def main() -> int:
    """0: it ended as told; 1: it could not go on, or with --once the alerts are not as they should be."""
    parser = argparse.ArgumentParser(prog="deploy.local.up", description="Rulecast with a demo, on this machine.")
    parser.add_argument("--once", action="store_true", help="end when all was shown")
    parser.add_argument("--data", type=Path, default=DATA, help="folder for all that is kept")
    arguments = parser.parse_args()
    # gRPC would go through a proxy even to this machine
    os.environ["no_grpc_proxy"] = "127.0.0.1"  # noqa: SIM112 - gRPC knows it in small letters only
    for number in _signals():
        signal.signal(number, signal.default_int_handler)
    try:
        data = arguments.data.absolute()
        with claimed(data):
            parts = find_prometheus(cache_dir(), say=lambda words: print(f"          {words}", flush=True))
            return 0 if asyncio.run(_until_told(data, parts, arguments.once)) else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    except (*TOLD, BaseExceptionGroup) as error:
        print(f"\nmake up: {_reason(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
