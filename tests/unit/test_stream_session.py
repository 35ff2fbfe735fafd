"""One stream, with time that passes when the test says so."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rule_service.changelog.wake import Signal
from rule_service.metrics import StreamMetrics
from rule_service.stream import reports
from rule_service.stream.hub import Hub
from rule_service.stream.parts import StreamParts
from rule_service.stream.policy import StreamPolicy
from rule_service.stream.session import serve
from rule_service.stream.updates import Updates
from rule_service.usecases.ports_fates import FateState
from rulecast.capabilities import FRAGMENTS
from rulecast.digest import file_sha256
from rulecast.errors import Conflict, DeadlineExceeded, FailedPrecondition, InvalidInput, RulecastError, Unavailable
from rulecast.reasons import Reason
from rulecast.rpc.errors import retry_after
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb
from tests.support.streams import FakeDeployer, FakeGroups, FakeLeases, FakeLog, Got, assembled
from tests.support.virtual_time import settled, virtual_time

AWAY = Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")
STALE = Conflict.of("", Reason.STALE_EPOCH, "over")


class FakeDuplex:
    """Implements `Duplex`. reads: whether the deployer takes what is written."""

    def __init__(self) -> None:
        self.reads = True
        self._said: asyncio.Queue[pb.SyncRequest | None] = asyncio.Queue()
        self._heard: list[pb.SyncResponse] = []

    def say(self, **kind: Any) -> None:
        self._said.put_nowait(pb.SyncRequest(**kind))

    def leave(self) -> None:
        self._said.put_nowait(None)

    def heard(self) -> list[pb.SyncResponse]:
        """What was written since it was last asked."""
        heard, self._heard = self._heard, []
        return heard

    async def read(self) -> pb.SyncRequest | None:
        return await self._said.get()

    async def write(self, response: bytes) -> None:
        if not self.reads:
            await asyncio.Event().wait()
        self._heard.append(pb.SyncResponse.FromString(response))


@dataclass
class World:
    """A replica with fakes around it, and the deployer's side of one stream."""

    log: FakeLog = field(default_factory=FakeLog)
    leases: FakeLeases = field(default_factory=FakeLeases)
    policy: StreamPolicy = field(default_factory=StreamPolicy)
    deployer: FakeDeployer = field(default_factory=FakeDeployer)
    duplex: FakeDuplex = field(default_factory=FakeDuplex)
    signal: Signal = field(default_factory=Signal)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    ended: list[RulecastError | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        metrics = StreamMetrics(self.registry)
        self.hub = Hub(self.log, FakeGroups(), self.signal, metrics, poll=2.0)
        source = random.Random(1)
        self.parts = StreamParts(self.hub, Updates(self.log), self.leases, metrics, self.policy, "replica", source)

    async def run(self) -> None:
        try:
            await serve(self.parts, self.duplex, self.stopping)
            self.ended.append(None)
        except RulecastError as error:
            self.ended.append(error)

    def edit(self, **files: bytes) -> int:
        revision = self.log.edit({f"group-{id}.yml": content for id, content in files.items()})
        self.signal.set()
        return revision

    def take(self, **changes: Any) -> Got:
        """Takes the Update that was written, and answers."""
        fragments = [each for each in self.duplex.heard() if each.WhichOneof("kind") == "update"]
        update = assembled(fragments)
        self.duplex.say(status=self.deployer.apply(update, **changes))
        return update

    def kinds(self) -> list[str | None]:
        return [each.WhichOneof("kind") for each in self.duplex.heard()]

    def beat(self, **work: Any) -> None:
        self.duplex.say(heartbeat=pb.Heartbeat(manifest_hash=self.deployer.manifest_hash, **work))

    async def live(self, seconds: float, **work: Any) -> None:
        """Time passes, and the deployer gives its signs of life. work: what it says there of what it is doing."""
        while seconds > 0:
            step = min(seconds, self.policy.heartbeat)
            await asyncio.sleep(step)
            seconds -= step
            self.beat(**work)
            await settled()


@asynccontextmanager
async def streaming(world: World) -> AsyncIterator[World]:
    """The stream after Hello, and the Inventory it asks for."""
    async with asyncio.TaskGroup() as tasks:
        hub = tasks.create_task(world.hub.run(), name="hub")
        await settled()
        stream = tasks.create_task(world.run(), name="stream")
        world.duplex.say(hello=world.deployer.hello())
        await settled()
        if any(each.welcome.mode == pb.Welcome.DIFF for each in world.duplex._heard):
            world.duplex.say(inventory=world.deployer.inventory())
            await settled()
        yield world
        stream.cancel()
        hub.cancel()


@asynccontextmanager
async def confirmed(world: World) -> AsyncIterator[World]:
    """The stream once its first Update is answered."""
    async with streaming(world):
        world.take()
        await settled()
        yield world


def with_file(content: bytes = b"old") -> World:
    world = World()
    world.edit(a=content)
    return world


@virtual_time
async def test_the_first_words() -> None:
    async with streaming(with_file()) as world:
        welcome, update = world.duplex.heard()
        assert (welcome.welcome.protocol_version, welcome.welcome.server_id) == (1, "replica")
        assert welcome.welcome.capabilities == [FRAGMENTS]
        assert welcome.welcome.heartbeat_interval.ToTimedelta().total_seconds() == 10
        assert (welcome.nonce, welcome.epoch) == (0, 1)
        assert (update.nonce, update.epoch, update.update.to_revision) == (1, 1, 1)


@virtual_time
async def test_an_unanswered_update_ends_the_stream() -> None:
    async with streaming(with_file()) as world:
        await world.live(110)
        assert world.registry.get_sample_value("rulecast_stream_unacknowledged_seconds") == 110
        assert world.ended == []
        await world.live(10)
        (error,) = world.ended
        assert isinstance(error, DeadlineExceeded)
        assert error.reason is Reason.ACK_TIMEOUT


@virtual_time
async def test_an_inventory_that_never_comes_ends_the_stream() -> None:
    async with confirmed(with_file()) as world:
        world.hub.streams["dep-1"].command(pb.Command.RESYNC)
        await world.live(119)
        assert world.ended == []
        await world.live(2)
        (error,) = world.ended
        assert error is not None
        assert error.reason is Reason.ACK_TIMEOUT


@virtual_time
async def test_an_update_that_is_being_applied_is_waited_for_as_long_as_that_is_said() -> None:
    async with streaming(with_file()) as world:
        await world.live(1_000, applying=1)
        assert world.ended == []
        assert world.registry.get_sample_value("rulecast_stream_unacknowledged_seconds") == 1_000
        world.take()
        await settled()
        assert [revision for revision, _ in world.leases.outcomes] == [1]

        world.edit(a=b"new")
        await settled()
        await world.live(50, applying=2)
        # it has lost the Update, or applies another one
        await world.live(60, applying=1)
        await world.live(50)
        assert world.ended == []
        await world.live(10)
        (error,) = world.ended
        assert error is not None
        assert error.reason is Reason.ACK_TIMEOUT


@virtual_time
async def test_an_inventory_of_a_busy_deployer_is_waited_for() -> None:
    async with confirmed(with_file()) as world:
        world.hub.streams["dep-1"].command(pb.Command.RESYNC)
        await world.live(500, busy=True)
        assert world.ended == []
        await world.live(120)
        (error,) = world.ended
        assert error is not None
        assert error.reason is Reason.ACK_TIMEOUT


@virtual_time
async def test_an_inventory_in_several_messages_counts_when_it_is_whole() -> None:
    async with confirmed(with_file()) as world:
        world.edit(b=b"b", c=b"c")
        await settled()
        world.take()
        await settled()
        world.hub.streams["dep-1"].command(pb.Command.RESYNC)
        await settled()
        world.duplex.heard()
        files = world.deployer.inventory().files
        for number, file in enumerate(files[:-1]):
            world.duplex.say(inventory=pb.Inventory(files=[file], more=True))
            world.beat()
            await settled()
            assert world.kinds() == [], number
        world.duplex.say(inventory=pb.Inventory(files=files[-1:]))
        await settled()
        # all is there: the Update that confirms it has no file
        (update,) = world.duplex.heard()
        assert (list(update.update.puts), list(update.update.deletes)) == ([], [])


@virtual_time
async def test_an_effective_state_in_several_messages_is_recorded_when_it_is_whole() -> None:
    async with confirmed(with_file()) as world:
        files = [pb.FileVersion(file_name=f"group-{name}.yml", sha256=b"s" * 32) for name in "abc"]
        for _ in range(2):
            first = pb.EffectiveState(prometheus_up=True, prometheus_version="3", files=files[:1], more=True)
            world.duplex.say(effective=first)
            world.duplex.say(effective=pb.EffectiveState(files=files[1:2], more=True))
            world.duplex.say(effective=pb.EffectiveState(files=files[2:]))
        await settled()
        assert len(world.leases.effective) == 2
        for facts in world.leases.effective:
            assert sorted(facts.files) == ["group-a.yml", "group-b.yml", "group-c.yml"]
            assert (facts.prometheus_up, facts.prometheus_version) == (True, "3")


@pytest.mark.parametrize("kind", ["inventory", "effective"])
@virtual_time
async def test_what_never_ends_does_not_fill_the_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_FILES", 10)
    async with confirmed(with_file()) as world:
        messages = {"inventory": pb.Inventory, "effective": pb.EffectiveState}
        for number in range(11):
            file = pb.FileVersion(file_name=f"group-{number}.yml", sha256=b"s" * 32)
            world.duplex.say(**{kind: messages[kind](files=[file], more=True)})
        await settled()
        (error,) = world.ended
        assert error is not None
        assert error.reason is Reason.TOO_LARGE


@virtual_time
async def test_deferred_is_an_answer() -> None:
    async with streaming(with_file()) as world:
        update = assembled([each for each in world.duplex.heard() if each.HasField("update")])
        outcome = common_pb2.FileOutcome(
            file_name="group-a.yml", sha256=file_sha256(b"old"), state=common_pb2.Rollout.DEFERRED
        )
        world.deployer.apply(update)
        world.duplex.say(status=world.deployer.status(update.nonce, [outcome]))
        await world.live(200)
        assert world.ended == []
        assert [(revision, [fate.state for fate in fates]) for revision, fates in world.leases.outcomes] == [
            (1, [FateState.DEFERRED])
        ]


@virtual_time
async def test_signs_of_life_go_both_ways_and_renew_the_lease() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.heard()
        await world.live(35)
        progress = world.duplex.heard()
        assert [each.progress.revision for each in progress] == [1, 1, 1]
        assert {each.progress.manifest_hash for each in progress} == {world.deployer.manifest_hash}
        assert world.leases.renewed == [30.0] * 4


@virtual_time
async def test_a_sign_of_life_names_no_revision_before_the_first_update() -> None:
    world = with_file()
    async with asyncio.TaskGroup() as tasks:
        hub = tasks.create_task(world.hub.run(), name="hub")
        await settled()
        stream = tasks.create_task(world.run(), name="stream")
        world.duplex.say(hello=world.deployer.hello())
        await world.live(25)
        assert world.kinds() == ["welcome", None, None]
        stream.cancel()
        hub.cancel()


@virtual_time
async def test_a_silent_deployer_is_cut_off_after_three_heartbeats() -> None:
    async with confirmed(with_file()) as world:
        await asyncio.sleep(29)
        assert world.ended == []
        await asyncio.sleep(2)
        (error,) = world.ended
        assert error is not None
        assert error.reason is Reason.STREAM_LOST
        assert world.leases.renewed == [3.0]


@virtual_time
async def test_an_old_stream_is_drained_but_not_in_the_middle_of_an_update() -> None:
    async with confirmed(with_file()) as world:
        await world.live(1450)
        world.edit(a=b"new")
        await settled()
        update = [each for each in world.duplex.heard() if each.HasField("update")]
        await world.live(110)
        assert "drain" not in world.kinds()
        world.duplex.say(status=world.deployer.apply(assembled(update)))
        await world.live(800)
        drain = world.duplex.heard()[-1].drain
        assert drain.reconnect_within.ToTimedelta().total_seconds() == 2
        assert world.ended == [None]
        assert world.leases.released == 0


@virtual_time
async def test_revisions_without_files_are_recorded_together() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.heard()
        for _ in range(20):
            world.edit()
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.1)
        assert world.leases.outcomes[1:] == [(21, ())]
        (progress,) = world.duplex.heard()
        assert progress.progress.revision == 21


@virtual_time
async def test_a_burst_goes_in_one_update_after_a_pause_and_the_next_edit_at_once() -> None:
    async with confirmed(with_file()) as world:
        world.edit(a=b"1")
        await asyncio.sleep(1.0)  # for which the deployer applies it
        world.edit(a=b"2")
        await settled()
        assert world.take().to_revision == 2
        await settled()
        for id in ("b", "c"):
            world.edit(**{id: b"3"})
            await asyncio.sleep(0.2)
        assert world.kinds() == []
        await asyncio.sleep(0.1)
        burst = world.take()
        assert burst.puts.keys() == {"group-a.yml", "group-b.yml", "group-c.yml"}
        await settled()
        world.edit(a=b"4")
        await settled()
        assert world.take().puts == {"group-a.yml": b"4"}


@virtual_time
async def test_an_outcome_is_recorded_once_the_database_is_back() -> None:
    async with streaming(with_file()) as world:
        world.leases.refuse = [AWAY, AWAY]
        world.take(refuse=["group-a.yml"])
        await settled()
        assert world.leases.outcomes == []
        await asyncio.sleep(2.1)
        ((revision, fates),) = world.leases.outcomes
        assert (revision, [fate.state for fate in fates]) == (1, [FateState.REJECTED])
        assert world.ended == []


@virtual_time
async def test_a_lease_that_can_not_be_renewed_does_not_end_the_stream() -> None:
    async with confirmed(with_file()) as world:
        world.leases.refuse = [AWAY, AWAY]
        await world.live(60)
        assert world.ended == []
        assert world.leases.renewed == [30.0] * 4


@virtual_time
async def test_a_lease_that_can_not_be_renewed_for_its_whole_time_sends_the_deployer_elsewhere() -> None:
    async with confirmed(with_file()) as world:
        world.leases.refuse = [AWAY] * 20
        await world.live(60)
        assert "drain" in world.kinds()
        assert world.ended == [None]
        assert world.leases.released == 0


@virtual_time
async def test_contents_that_can_not_be_read_are_sent_later() -> None:
    async with confirmed(with_file()) as world:
        world.edit(a=b"new")
        await world.hub.follow()
        world.log.away = AWAY
        await asyncio.sleep(1.5)
        assert world.ended == []
        world.log.away = None
        await asyncio.sleep(2.1)
        assert world.take().puts == {"group-a.yml": b"new"}


@virtual_time
async def test_another_process_that_took_over_ends_the_stream() -> None:
    async with confirmed(with_file()) as world:
        world.leases.refuse = [STALE]
        world.beat()
        await settled()
        assert world.ended == [STALE]


@virtual_time
async def test_a_goodbye_releases_the_lease_and_an_end_without_one_shortens_it() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.say(goodbye=pb.Goodbye())
        await settled()
        assert (world.ended, world.leases.released, world.leases.renewed) == ([None], 1, [])
    async with confirmed(with_file()) as world:
        world.duplex.leave()
        await settled()
        assert (world.ended, world.leases.released, world.leases.renewed) == ([None], 0, [3.0])


@virtual_time
async def test_a_stop_drains_at_once_whatever_is_on_its_way() -> None:
    async with streaming(with_file()) as world:
        world.duplex.heard()
        world.stopping.set()
        await settled()
        assert world.kinds() == ["drain"]
        assert world.ended == [None]


@virtual_time
async def test_a_deployer_that_does_not_read_is_cut_off() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.reads = False
        world.edit(a=b"new")
        await world.live(29)
        assert world.ended == []
        await world.live(2)
        (error,) = world.ended
        assert error is not None
        assert error.reason is Reason.STREAM_LOST


@virtual_time
async def test_a_deployer_that_does_not_read_does_not_hold_up_a_stop() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.reads = False
        world.edit(a=b"new")
        await settled()
        world.stopping.set()
        await asyncio.sleep(2.1)
        (error,) = world.ended
        assert isinstance(error, Unavailable)


@virtual_time
async def test_commands_are_sent_once_and_a_comparison_after_the_answer() -> None:
    async with streaming(with_file()) as world:
        update = assembled([each for each in world.duplex.heard() if each.HasField("update")])
        stream = world.hub.streams["dep-1"]
        for kind in (pb.Command.RELOAD, pb.Command.RESYNC, pb.Command.RELOAD, pb.Command.VALIDATE):
            stream.command(kind)
        await settled()
        commands = [each.command for each in world.duplex.heard()]
        assert [(each.id, each.kind) for each in commands] == [(1, pb.Command.RELOAD), (2, pb.Command.VALIDATE)]
        world.duplex.say(status=world.deployer.apply(update))
        await settled()
        (command,) = world.duplex.heard()
        assert command.command.kind == pb.Command.RESYNC
        world.duplex.say(command_result=pb.CommandResult(id=1, ok=False, reason="RELOAD_REFUSED", message="403"))
        world.duplex.say(inventory=world.deployer.inventory())
        await settled()
        assert world.take().puts == {}
        assert world.ended == []


@virtual_time
async def test_an_answer_to_another_update_is_not_taken() -> None:
    async with streaming(with_file()) as world:
        world.duplex.say(status=world.deployer.status(7))
        await settled()
        assert world.leases.outcomes == []
        world.take()
        await settled()
        assert [revision for revision, _ in world.leases.outcomes] == [1]


@virtual_time
async def test_a_resync_offers_again_what_is_only_just_recorded_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the refusal in the database may ask before the stream has gone on."""
    world = with_file()
    record = world.leases.record_outcomes

    async def seen_at_once(*outcomes: Any) -> None:
        await record(*outcomes)
        world.hub.streams["dep-1"].command(pb.Command.RESYNC)

    monkeypatch.setattr(world.leases, "record_outcomes", seen_at_once)
    async with streaming(world):
        world.take(refuse=["group-a.yml"])
        await settled()
        assert world.kinds() == ["command"]
        world.duplex.say(inventory=world.deployer.inventory())
        await settled()
        assert world.take().puts == {"group-a.yml": b"old"}


@virtual_time
async def test_what_the_database_says_was_refused_is_not_offered() -> None:
    world = with_file()
    world.leases.refused_versions = {("group-a.yml", file_sha256(b"old"))}
    async with streaming(world):
        assert world.take().puts == {}


@virtual_time
async def test_a_change_between_the_manifest_and_its_contents_is_caught_up_with() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.heard()
        world.edit(a=b"2", b=b"2")
        await world.hub.follow()
        # not yet noticed when the contents are fetched
        world.log.edit({"group-a.yml": b"3"})
        await settled()
        update = world.take()
        assert (update.to_revision, update.puts) == (3, {"group-a.yml": b"3", "group-b.yml": b"2"})


@virtual_time
async def test_a_stored_file_that_is_not_what_its_hash_says_is_not_sent() -> None:
    async with confirmed(with_file()) as world:
        world.duplex.heard()
        contents = world.log.contents

        async def torn(names: Sequence[str]) -> dict[str, bytes]:
            return {name: content[:1] for name, content in (await contents(names)).items()}

        world.log.contents = torn  # type: ignore[method-assign, assignment]
        world.edit(a=b"new")
        await asyncio.sleep(5)
        assert world.kinds() == []
        assert len(world.log.asked) < 10
        assert world.ended == []


@virtual_time
async def test_a_second_deployer_is_told_when_to_come_again() -> None:
    world = with_file()
    duplicate = FailedPrecondition.of("", Reason.DUPLICATE_DEPLOYER, "there is one", lease_seconds="12")
    world.leases.refuse = [duplicate]
    async with streaming(world):
        assert world.ended == [duplicate]
        assert retry_after(duplicate) == 12.0
        assert world.hub.streams == {}


@virtual_time
async def test_a_deployer_that_says_nothing_at_all_is_cut_off() -> None:
    world = World()
    async with asyncio.TaskGroup() as tasks:
        stream = tasks.create_task(world.run(), name="stream")
        await asyncio.sleep(31)
        assert stream.done()
    (error,) = world.ended
    assert isinstance(error, DeadlineExceeded)


@pytest.mark.parametrize(
    "message",
    [
        {"hello": FakeDeployer().hello()},
        {"heartbeat": pb.Heartbeat(manifest_hash=b"short")},
        {"inventory": pb.Inventory(files=[pb.FileVersion(file_name="global.yml", sha256=b"short")])},
        {"status": pb.ApplyStatus(files=[common_pb2.FileOutcome(file_name="global.yml")])},
        {
            "status": pb.ApplyStatus(
                files=[common_pb2.FileOutcome(file_name="global.yml", state=common_pb2.Rollout.UNREACHABLE)]
            )
        },
    ],
)
def test_what_makes_no_sense_ends_the_stream(message: dict[str, Any]) -> None:
    @virtual_time
    async def check() -> None:
        async with confirmed(with_file()) as world:
            world.duplex.say(**message)
            await settled()
            assert isinstance(world.ended[0], InvalidInput)

    check()


@virtual_time
async def test_outcomes_of_files_that_are_not_ours_are_dropped() -> None:
    async with confirmed(with_file()) as world:
        outcome = common_pb2.FileOutcome(file_name="../x\0.yml", state=common_pb2.Rollout.REJECTED)
        world.duplex.say(status=world.deployer.status(0, [outcome]))
        world.duplex.say(inventory=pb.Inventory(files=[pb.FileVersion(file_name="../x\0.yml", sha256=b"?")]))
        await settled()
        assert world.leases.outcomes[1] == (1, ())
        assert world.take().deletes == set()
