"""A timer that is put off: never late, and off when it is told so."""

import asyncio

from rule_service.stream.alarm import Alarm
from tests.support.virtual_time import virtual_time


class Bell:
    """Notes when it was rung."""

    def __init__(self) -> None:
        self.rung: list[float] = []
        self.alarm = Alarm(lambda: self.rung.append(asyncio.get_running_loop().time()))


@virtual_time
async def test_it_rings_once_by_the_time_it_was_set_to() -> None:
    bell = Bell()
    bell.alarm.by(10)
    await asyncio.sleep(100)
    assert bell.rung == [10]


@virtual_time
async def test_put_off_it_may_ring_early_and_then_rings_when_it_is_set_anew() -> None:
    bell = Bell()
    bell.alarm.by(10)
    bell.alarm.by(20)
    await asyncio.sleep(11)
    assert bell.rung == [10]
    bell.alarm.by(20)
    await asyncio.sleep(11)
    assert bell.rung == [10, 20]


@virtual_time
async def test_brought_forward_it_rings_earlier_and_only_then() -> None:
    bell = Bell()
    bell.alarm.by(20)
    bell.alarm.by(10)
    await asyncio.sleep(100)
    assert bell.rung == [10]


@virtual_time
async def test_turned_off_it_does_not_ring_until_it_is_set_again() -> None:
    bell = Bell()
    bell.alarm.by(10)
    bell.alarm.off()
    await asyncio.sleep(20)
    assert bell.rung == []
    bell.alarm.by(30)
    await asyncio.sleep(20)
    assert bell.rung == [30]
