"""Commands over replicas: what the caller hears is what was done."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from rule_service.changelog.wake import Signal
from rule_service.metrics import StreamMetrics
from rule_service.stream.commands import StreamCommands
from rule_service.stream.hub import Hub
from rule_service.usecases.ports_fates import DeployerFacts
from rulecast.errors import Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb
from tests.support.streams import FakeGroups, FakeLog
from tests.support.virtual_time import virtual_time
from tests.unit.test_stream_hub import FakeStream


def known(id: str, connected: bool = True) -> DeployerFacts:
    return DeployerFacts(id, connected, 1, 0, b"", (), "", "", "", False, (), (), datetime(2026, 1, 1, tzinfo=UTC))


@dataclass
class Net:
    """The notices between replicas. `deaf`: replicas that hear nothing. payloads: all that was said."""

    replicas: dict[str, StreamCommands] = field(default_factory=dict)
    known: list[DeployerFacts] = field(default_factory=list)
    deaf: set[str] = field(default_factory=set)
    payloads: list[str] = field(default_factory=list)
    away: bool = False

    async def send(self, payload: str) -> None:
        if self.away:
            raise Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")
        self.payloads.append(payload)
        for name, replica in self.replicas.items():
            if name not in self.deaf:
                replica.heard(payload)

    async def deployers(self) -> tuple[DeployerFacts, ...]:
        return tuple(self.known)


@asynccontextmanager
async def replicas(net: Net, **deployers: list[str]) -> AsyncIterator[dict[str, FakeStream]]:
    """Replicas by name, each with streams to these deployers; the streams, by deployer."""
    streams: dict[str, FakeStream] = {}
    async with asyncio.TaskGroup() as tasks:
        running = []
        for name, ids in deployers.items():
            hub = Hub(FakeLog(), FakeGroups(), Signal(), StreamMetrics(CollectorRegistry()))
            for id in ids:
                streams[id] = FakeStream()
                hub._streams[id] = streams[id]
                net.known.append(known(id))
            net.replicas[name] = StreamCommands(hub, net, net, name)
            running.append(tasks.create_task(net.replicas[name].run(), name=name))
        yield streams
        for task in running:
            task.cancel()


@virtual_time
async def test_one_replica_asks_nobody() -> None:
    net = Net()
    async with replicas(net, a=["x", "y"]) as streams:
        assert await net.replicas["a"].reload(None) == ("x", "y")
        assert await net.replicas["a"].resync("y") == ("y",)
        assert streams["x"].commands == [pb.Command.RELOAD]
        assert streams["y"].commands == [pb.Command.RELOAD, pb.Command.RESYNC]
        assert net.payloads == []


@virtual_time
async def test_other_replicas_pass_it_on_and_answer() -> None:
    net = Net()
    async with replicas(net, a=["x"], b=["y"], c=["z"]) as streams:
        assert await net.replicas["a"].reload(None) == ("x", "y", "z")
        assert await net.replicas["a"].reload("z") == ("z",)
        assert [len(stream.commands) for stream in streams.values()] == [1, 1, 2]


@virtual_time
async def test_leave_for_a_mass_deletion_goes_along_to_other_replicas() -> None:
    net = Net()
    async with replicas(net, a=["x"], b=["y"]) as streams:
        await net.replicas["a"].resync(None)
        await net.replicas["a"].resync(None, mass_deletion_allowed=True)
        assert [stream.allowed for stream in streams.values()] == [[False, True], [False, True]]


@virtual_time
async def test_who_was_not_told_is_not_named() -> None:
    net = Net(deaf={"b"})
    async with replicas(net, a=["x"], b=["y"]) as streams:
        started = asyncio.get_running_loop().time()
        assert await net.replicas["a"].reload(None) == ("x",)
        assert asyncio.get_running_loop().time() - started == pytest.approx(2)
        assert streams["y"].commands == []
        net.known = [known("x"), known("y", connected=False)]
        assert await net.replicas["a"].reload("y") == ()


@virtual_time
async def test_many_deployers_answer_in_notices_of_a_size_that_postgresql_takes() -> None:
    net = Net()
    names = [f"{at:063}" for at in range(250)]
    async with replicas(net, a=[], b=names):
        assert await net.replicas["a"].reload(None) == tuple(names)
    assert len(net.payloads) == 4
    assert max(map(len, net.payloads)) < 8000


@virtual_time
async def test_a_command_that_can_not_be_passed_on_is_an_error() -> None:
    net = Net(away=True)
    async with replicas(net, a=["x"], b=["y"]):
        with pytest.raises(Unavailable):
            await net.replicas["a"].reload(None)


@virtual_time
async def test_answers_to_a_question_that_is_over_are_dropped() -> None:
    net = Net()
    async with replicas(net, a=["x"]):
        net.replicas["a"].heard(json.dumps({"question": "old", "told": ["y"]}))
        assert await net.replicas["a"].reload(None) == ("x",)
