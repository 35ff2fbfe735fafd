"""The deployer's life: recover, follow, end. On virtual time."""

import asyncio

import pytest

from deployer_service.follow.follower import Follower
from deployer_service.life import Life
from rulecast.errors import FailedPrecondition
from rulecast.reasons import Reason
from tests.support.follow import IDENTITY, FakeUpstream, Latest
from tests.support.pipeline_fakes import VirtualClock, World
from tests.support.virtual_time import settled, virtual_time


class Living:
    def __init__(self) -> None:
        self.world = World(clock=VirtualClock(by_itself=False))
        self.upstream = FakeUpstream()
        self.stop = asyncio.Event()
        self.recovered = asyncio.Event()
        follower = Follower(self.upstream, ["a:1"], self.world.pipeline, IDENTITY, Latest(), lambda *_: None)
        self.life = Life(self.world.pipeline, follower, self.stop, Latest(), self._recovered)

    async def _recovered(self) -> None:
        self.recovered.set()


@virtual_time
async def test_it_is_ready_once_recovered_and_closes_the_directory_at_its_end() -> None:
    living = Living()
    assert living.life.not_ready() == "looking at what is on disk"
    async with asyncio.TaskGroup() as group:
        group.create_task(living.life.run(), name="life")
        await living.recovered.wait()
        assert living.life.not_ready() is None
        assert living.world.directory.opened
        service = await living.upstream.streams.get()
        await service.welcome()
        await service.hear("effective")
        living.stop.set()
        await service.hear("goodbye")
        service.hang_up()

    assert not living.world.directory.opened


@virtual_time
async def test_a_disk_that_does_not_allow_it_is_waited_for() -> None:
    living = Living()
    living.world.directory.fail("open", Reason.DISK_FULL, times=4)
    async with asyncio.TaskGroup() as group:
        group.create_task(living.life.run(), name="life")
        await settled()
        assert living.life.not_ready() == "/rules: DISK_FULL"
        assert living.upstream.tried == []

        await living.recovered.wait()
        assert asyncio.get_running_loop().time() == pytest.approx(0.5 + 1 + 2 + 4)
        living.stop.set()


@virtual_time
async def test_it_can_be_stopped_while_it_waits_for_the_disk() -> None:
    living = Living()
    living.world.directory.fail("open", Reason.READ_ONLY, times=1000)
    async with asyncio.TaskGroup() as group:
        group.create_task(living.life.run(), name="life")
        await asyncio.sleep(60)
        living.stop.set()

    assert not living.recovered.is_set()


@virtual_time
async def test_a_rule_directory_in_use_ends_it() -> None:
    living = Living()
    living.world.directory.faults["open"] = [FailedPrecondition.of("", Reason.DUPLICATE_DEPLOYER, "in use")]

    with pytest.raises(FailedPrecondition, match="in use"):
        await living.life.run()

    assert not living.recovered.is_set()


@virtual_time
async def test_a_fault_of_the_code_ends_it_loudly() -> None:
    living = Living()

    async def broken() -> None:
        raise ZeroDivisionError

    living.world.directory.scan = broken  # type: ignore[method-assign, assignment]

    with pytest.raises(ZeroDivisionError):
        await living.life.run()
