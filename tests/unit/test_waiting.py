"""Those who wait for rollouts are woken by the same, and look at the deployers together."""

import asyncio
from datetime import UTC, datetime
from typing import cast

import pytest

from rule_service.changelog.wake import Signal
from rule_service.usecases.ports import Reads
from rule_service.usecases.ports_changes import LoggedChange
from rule_service.usecases.ports_fates import DeployerFacts, FateState
from rule_service.usecases.rollout import Rollout, Until
from rule_service.usecases.waiting import RolloutWaiter
from tests.support.waiting import wait_for


class Looks:
    """Implements what a waiter reads, with one deployer. A look takes until `answer` is set."""

    def __init__(self) -> None:
        self.revision = 0
        self.begun = 0
        self.answer = asyncio.Event()
        self.answer.set()
        self.error: Exception | None = None

    async def changed_files(self, revision: int) -> tuple[LoggedChange, ...]:
        return (LoggedChange("global.yml", bytes(32)),)

    async def deployers(self) -> tuple[DeployerFacts, ...]:
        self.begun += 1
        revision = self.revision
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        at = datetime.now(UTC)
        return (DeployerFacts("one", True, 1, revision, bytes(32), (), "1", "2", "", True, (), (), at),)


@pytest.fixture
def looks() -> Looks:
    return Looks()


def waiter(looks: Looks, signal: Signal) -> RolloutWaiter:
    return RolloutWaiter(cast(Reads, looks), signal)


async def state(task: "asyncio.Task[Rollout]") -> FateState:
    return (await task).state


async def test_all_who_are_woken_look_once(looks: Looks) -> None:
    signal = Signal()
    waiting = waiter(looks, signal)
    async with asyncio.TaskGroup() as tasks:
        many = [tasks.create_task(waiting.wait_at_most(1, 30.0, Until.KNOWN), name=f"{at}") for at in range(40)]
        await wait_for(lambda: looks.begun >= 1)
        first = looks.begun
        looks.revision = 1
        signal.set()
    assert [await state(each) for each in many] == [FateState.ACTIVE] * 40
    assert first == 1
    assert looks.begun == 2


async def test_a_look_that_has_begun_is_too_old_for_who_asks_now(looks: Looks) -> None:
    signal = Signal()
    waiting = waiter(looks, signal)
    looks.answer.clear()
    async with asyncio.TaskGroup() as tasks:
        early = tasks.create_task(waiting.wait_at_most(1, 30.0, Until.KNOWN), name="early")
        await wait_for(lambda: looks.begun == 1)
        looks.revision = 1
        late = tasks.create_task(waiting.wait_at_most(1, 30.0, Until.KNOWN), name="late")
        looks.answer.set()
        assert await state(late) is FateState.ACTIVE
        signal.set()
        assert await state(early) is FateState.ACTIVE


async def test_who_is_cancelled_does_not_take_the_others_along(looks: Looks) -> None:
    signal = Signal()
    waiting = waiter(looks, signal)
    looks.revision = 1
    looks.answer.clear()
    async with asyncio.TaskGroup() as tasks:
        # this one looks; of those that come meanwhile, the first is to look next
        looking = tasks.create_task(waiting.wait_at_most(1, 30.0, Until.KNOWN), name="looking")
        await wait_for(lambda: looks.begun == 1)
        next_one = tasks.create_task(waiting.wait_at_most(1, 30.0, Until.KNOWN), name="next")
        joined = tasks.create_task(waiting.wait_at_most(1, 30.0, Until.KNOWN), name="joined")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        next_one.cancel()
        looks.answer.set()
    assert await state(looking) is FateState.ACTIVE
    assert await state(joined) is FateState.ACTIVE
    assert next_one.cancelled()


async def test_an_error_is_told_to_all(looks: Looks) -> None:
    waiting = waiter(looks, Signal())
    looks.error = ConnectionError("away")
    answers = await asyncio.gather(
        *(waiting.wait_at_most(1, 30.0, Until.KNOWN) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in answers] == [ConnectionError] * 3


async def test_after_the_time_it_tells_how_far_it_has_come(looks: Looks) -> None:
    assert (await waiter(looks, Signal()).wait_at_most(1, 0.01, Until.KNOWN)).state is FateState.PENDING
