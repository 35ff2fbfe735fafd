"""A stream to some rule service, for as long as the process lives. On virtual time."""

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from deployer_service.follow.follower import Connection
from deployer_service.follow.redial import CAP, FLOOR
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb
from tests.support.follow import HEARTBEAT, following, hold_validation
from tests.support.rule_files import rule_file
from tests.support.virtual_time import settled, virtual_time

A = rule_file("a")


def now() -> float:
    return asyncio.get_running_loop().time()


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=value))
    return duration


@virtual_time
async def test_it_says_whether_and_to_whom_it_is_connected() -> None:
    async with following(addresses=["a:1", "b:1"]) as here:
        service = await here.stream()
        assert here.follower.connection == Connection(False, "a:1")

        await service.welcome()
        await service.hear("heartbeat")
        assert here.follower.connection == Connection(True, "a:1")

        service.hang_up()
        await service.stream.closed.wait()
        assert here.follower.connection == Connection(False, "b:1")


@virtual_time
async def test_an_address_where_nobody_listens_is_passed_over_at_once() -> None:
    async with following(addresses=["a:1", "b:1"]) as here:
        here.upstream.unreachable.add("a:1")

        service = await here.stream()

        assert service.address == "b:1"
        assert now() == 0


@virtual_time
async def test_it_tries_for_ever_but_not_often() -> None:
    async with following() as here:
        here.upstream.unreachable.add("a:1")

        await asyncio.sleep(3600)

        assert 3600 / 30 <= len(here.upstream.tried) <= 3600 / 30 + 7


@virtual_time
async def test_streams_that_are_lost_soon_but_were_of_use_are_soon_followed_by_another() -> None:
    async with following() as here:
        for number in range(8):
            service = await here.stream()
            await service.welcome(mode=pb.Welcome.DIFF)
            await service.applied({"global.yml": rule_file("a", version=number)}, revision=number + 1)
            service.hang_up()
        assert now() <= 8 * (FLOOR + 0.5)

        for _ in range(8):  # welcomed, and of no use
            service = await here.welcomed(mode=pb.Welcome.DIFF)
            service.hang_up()
        began = now()
        await here.stream()
        assert now() - began == pytest.approx(CAP)


@virtual_time
async def test_a_second_deployer_of_the_name_comes_again_when_it_is_told_to() -> None:
    async with following() as here:
        service = await here.stream()
        service.fail(FailedPrecondition.of("", Reason.DUPLICATE_DEPLOYER, "taken", retry_after="12"))

        await here.stream()

        assert now() == pytest.approx(13)


@virtual_time
async def test_a_drained_deployer_stays_until_the_moment_and_goes_elsewhere() -> None:
    async with following(addresses=["a:1", "b:1"]) as here:
        service = await here.welcomed()
        service.say(drain=pb.Drain(reconnect_within=seconds(5)))
        assert (await service.applied({"global.yml": A})).revision == 1

        other = await here.stream()

        assert other.address == "b:1"
        assert service.stream.finished.is_set()
        assert now() == pytest.approx(5 + 2)  # and two seconds for the other side to end it


@virtual_time
async def test_a_stream_that_ends_after_its_drain_is_followed_by_one_at_the_moment() -> None:
    async with following(addresses=["a:1", "b:1"]) as here:
        service = await here.welcomed()
        service.say(drain=pb.Drain(reconnect_within=seconds(5)))
        service.hang_up()

        other = await here.stream()

        assert other.address == "b:1"
        assert now() == pytest.approx(5)


@virtual_time
async def test_it_takes_leave_when_told_to_stop() -> None:
    async with following() as here:
        service = await here.welcomed()
        await service.hear("heartbeat")

        here.stop.set()
        await service.hear("goodbye")
        service.hang_up()
        await service.stream.closed.wait()

        assert service.stream.finished.is_set()
        assert now() == pytest.approx(HEARTBEAT)


@virtual_time
async def test_it_finishes_what_it_is_at_before_it_takes_leave() -> None:
    async with following() as here:
        service = await here.welcomed()
        gate = hold_validation(here.world)
        nonce = service.update({"global.yml": A})
        await settled()
        here.stop.set()
        await settled()
        gate.set()

        while (status := await service.hear("status")).nonce != nonce:
            continue
        await service.hear("goodbye")

        assert status.revision == 1
        assert here.world.prometheus.running == {"global.yml": A}


@virtual_time
async def test_it_stops_at_once_where_nobody_has_welcomed_it() -> None:
    async with following() as here:
        service = await here.stream()
        await service.hear("hello")

        here.stop.set()
        await service.stream.closed.wait()

        assert now() == 0


@virtual_time
async def test_it_stops_at_once_while_it_waits_for_the_next_try() -> None:
    async with following() as here:
        here.upstream.unreachable.add("a:1")
        await asyncio.sleep(100)
        tried = len(here.upstream.tried)

        here.stop.set()
        await asyncio.sleep(100)

        assert len(here.upstream.tried) == tried


@virtual_time
async def test_a_resync_needs_a_stream() -> None:
    async with following() as here:
        service = await here.stream()
        with pytest.raises(FailedPrecondition, match="no stream") as refused:
            await here.follower.resync()
        assert refused.value.reason is Reason.NOT_CONNECTED
        await service.welcome()
        await service.hear("effective")

        await here.follower.resync()

        assert list((await service.hear("inventory")).files) == []


@virtual_time
async def test_the_epoch_holds_over_streams_though_the_disk_could_not_keep_it() -> None:
    async with following() as here:
        here.world.journal.faults["save"] = [Unavailable.of("", Reason.DISK_FULL, "full") for _ in range(100)]
        service = await here.stream()
        service.epoch = 7
        await service.welcome()
        await service.hear("heartbeat")
        service.hang_up()

        stale = await here.stream()
        stale.epoch = 6
        await stale.welcome()
        await stale.stream.closed.wait()
        await settled()

        assert not here.follower.connection.connected
