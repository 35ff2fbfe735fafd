"""Tasks that live and end together, and signals."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from rulecast.process.supervise import FAILED, supervise


class Steps:
    """What happened, in order."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.stop = stop
        self.seen: list[str] = []

    def until_stopped(self, name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await self.stop.wait()
            self.seen.append(f"{name} ended")

        return run

    async def stubborn(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.append("stubborn cancelled")
            raise


@pytest.fixture
def steps() -> Steps:
    return Steps(asyncio.Event())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_tasks_in_order(steps: Steps, number: signal.Signals) -> None:
    async def sender() -> None:
        os.kill(os.getpid(), number)
        await steps.stop.wait()

    tasks = {"a": steps.until_stopped("a"), "b": steps.until_stopped("b"), "sender": sender}

    assert await supervise(tasks, steps.stop) == 0
    assert sorted(steps.seen) == ["a ended", "b ended"]


async def test_a_task_that_fails_ends_the_others_in_order(steps: Steps) -> None:
    async def failing() -> None:
        raise OSError("no disk")

    assert await supervise({"failing": failing, "a": steps.until_stopped("a")}, steps.stop) == FAILED
    assert steps.seen == ["a ended"]


async def test_a_task_that_returns_too_early_is_a_failure(steps: Steps) -> None:
    async def short() -> None:
        return

    assert await supervise({"short": short, "a": steps.until_stopped("a")}, steps.stop) == FAILED
    assert steps.seen == ["a ended"]


async def test_a_task_that_fails_on_the_way_out_is_a_failure(steps: Steps) -> None:
    async def failing() -> None:
        await steps.stop.wait()
        raise OSError("no disk")

    steps.stop.set()

    assert await supervise({"failing": failing}, steps.stop) == FAILED


async def test_a_second_signal_cancels_at_once(steps: Steps) -> None:
    async def sender() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await steps.stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(10):
        await supervise({"stubborn": steps.stubborn, "sender": sender}, steps.stop, grace=3600)

    assert steps.seen == ["stubborn cancelled"]


async def test_tasks_that_do_not_end_are_cancelled_after_the_grace(steps: Steps) -> None:
    steps.stop.set()

    async with asyncio.timeout(10):
        await supervise({"stubborn": steps.stubborn}, steps.stop, grace=0.01)

    assert steps.seen == ["stubborn cancelled"]


async def test_signals_have_their_usual_effect_afterwards(steps: Steps) -> None:
    steps.stop.set()
    await supervise({"a": steps.until_stopped("a")}, steps.stop)

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_supervisor_that_is_cancelled_cancels_its_tasks(steps: Steps) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await supervise({"stubborn": steps.stubborn}, steps.stop)

    assert steps.seen == ["stubborn cancelled"]
