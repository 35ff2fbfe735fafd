"""The life of a process: named tasks that live and end together, and the signals that end them."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from rulecast.errors import RulecastError

FAILED: Final = 1

_log = structlog.get_logger()


class CanNotStart(Exception):
    """The process can not do its work until a person mends something; the message says what. No fault of the code."""


async def supervise(
    tasks: Mapping[str, Callable[[], Awaitable[None]]], stop: asyncio.Event, grace: float = 30.0
) -> int:
    """Runs the tasks until they have ended and returns the exit code of the process.

    SIGTERM or SIGINT sets `stop`; every task is to return when it is set. A second signal cancels them at once, and
    so do `grace` seconds. A task that raises, or returns too early, sets `stop` too; the exit code is then 1.
    """
    failed: list[str] = []

    async def run(name: str, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except (CanNotStart, RulecastError) as error:
            _log.error("task failed", task=name, error=str(error))  # a traceback would tell nothing
            failed.append(name)
        except Exception as error:
            _log.exception("task failed", task=name, error=str(error))
            failed.append(name)
        else:
            if not stop.is_set():
                _log.error("task ended before it was told to", task=name)
                failed.append(name)
        stop.set()

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(name, task), name=name) for name, task in tasks.items()]
        with _Signals(stop, running):
            await stop.wait()
            late = asyncio.get_running_loop().call_later(grace, _cancel, running, "not ended in time")
            await asyncio.wait(running)
            late.cancel()
    return FAILED if failed else 0


class _Signals:
    """The first signal asks, the second one cancels, a third one has its default effect."""

    _NUMBERS: Final = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, stop: asyncio.Event, running: list[asyncio.Task[None]]) -> None:
        self._stop = stop
        self._running = running
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in self._NUMBERS:
            self._loop.add_signal_handler(number, self._received, number)

    def __exit__(self, *_: object) -> None:
        for number in self._NUMBERS:
            self._loop.remove_signal_handler(number)

    def _received(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            _log.info("stopping", signal=signal.Signals(number).name)
            self._stop.set()
            return
        for each in self._NUMBERS:
            self._loop.remove_signal_handler(each)
        _cancel(self._running, f"second signal: {signal.Signals(number).name}")


def _cancel(running: list[asyncio.Task[None]], why: str) -> None:
    _log.warning("cancelling", why=why, tasks=[task.get_name() for task in running if not task.done()])
    for task in running:
        task.cancel()
