"""The shared manifest follows the database, and knows when it can not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from rule_service.changelog.wake import Signal
from rule_service.domain.model import Group, GroupScope, NamespaceScope
from rule_service.metrics import StreamMetrics
from rule_service.stream.hub import Hub
from rulecast.digest import file_sha256, manifest_hash
from rulecast.errors import LimitExceeded, Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb
from tests.support.streams import FakeGroups, FakeLog
from tests.support.virtual_time import settled, virtual_time

AWAY = Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")
PROD = (GroupScope("prod"),)


@dataclass
class FakeStream:
    woken: int = 0
    drained: list[str] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    allowed: list[bool] = field(default_factory=list)
    unacknowledged_for: float = 0.0

    def wake(self) -> None:
        self.woken += 1

    def drain(self, message: str) -> None:
        self.drained.append(message)

    def command(self, kind: pb.Command.Kind.ValueType, *, mass_deletion_allowed: bool = False) -> None:
        self.commands.append(kind)
        self.allowed.append(mass_deletion_allowed)


@dataclass
class World:
    log: FakeLog = field(default_factory=FakeLog)
    groups: FakeGroups = field(default_factory=FakeGroups)
    signal: Signal = field(default_factory=Signal)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def hub(self, max_streams: int = 100) -> Hub:
        return Hub(self.log, self.groups, self.signal, StreamMetrics(self.registry), poll=2.0, max_streams=max_streams)

    def edit(self, name: str, content: bytes) -> int:
        return self.log.edit({name: content})


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(hub.run(), name="hub")
        await settled()
        yield
        task.cancel()


async def revision(hub: Hub) -> int:
    await settled()
    return (await hub.view()).revision


@virtual_time
async def test_a_wakeup_brings_what_is_new_and_wakes_the_streams() -> None:
    world = World()
    hub, stream = world.hub(), FakeStream()
    async with running(hub):
        with hub.joined("dep", stream):
            world.edit("global.yml", b"a")
            world.signal.set()
            assert await revision(hub) == 1
            assert (await hub.view()).manifest_hash == manifest_hash({"global.yml": file_sha256(b"a")})
            assert stream.woken == 1
            world.signal.set()
            await settled()
            assert stream.woken == 1
    assert world.registry.get_sample_value("rulecast_stream_revision") == 1


@virtual_time
async def test_without_a_wakeup_it_looks_after_a_while() -> None:
    world = World()
    hub = world.hub()
    async with running(hub):
        world.edit("global.yml", b"a")
        await asyncio.sleep(1.9)
        assert await revision(hub) == 0
        await asyncio.sleep(0.2)
        assert await revision(hub) == 1


@virtual_time
async def test_a_database_that_is_away_at_first_is_waited_for() -> None:
    world = World(FakeLog(away=AWAY))
    hub = world.hub()
    async with running(hub):
        with pytest.raises(Unavailable):
            await hub.view()
        seen = [hub.up_to_date]
        world.log.away = None
        await asyncio.sleep(2.1)
        seen.append(hub.up_to_date)
        assert seen == [False, True]
        assert await revision(hub) == 0


@virtual_time
async def test_after_the_database_was_away_everything_is_compared() -> None:
    world = World()
    world.edit("global.yml", b"a")
    hub, stream = world.hub(), FakeStream()
    async with running(hub):
        with hub.joined("dep", stream):
            world.log.away = AWAY
            await asyncio.sleep(2.1)
            seen = [hub.up_to_date]
            world.log.away = None
            await asyncio.sleep(2.1)
            seen.append(hub.up_to_date)
            assert (seen, world.log.manifests, stream.drained) == ([False, True], 2, [])
            await asyncio.sleep(290)
            assert world.log.manifests == 2
            await asyncio.sleep(20)
            assert world.log.manifests == 3


@virtual_time
async def test_a_history_that_does_not_go_on_drains_every_stream() -> None:
    world = World()
    world.edit("global.yml", b"a")
    hub, streams = world.hub(), [FakeStream(), FakeStream()]
    async with running(hub):
        with hub.joined("one", streams[0]), hub.joined("two", streams[1]):
            world.log.history = "restored"
            await asyncio.sleep(2.1)
            assert [len(stream.drained) for stream in streams] == [1, 1]
            assert (await hub.view()).snapshot.position.history_id == "restored"
            assert hub.trusts("restored")
            assert not hub.trusts("history")


@virtual_time
async def test_a_revision_that_went_back_drains_too() -> None:
    world = World()
    world.edit("global.yml", b"a")
    world.edit("global.yml", b"b")
    hub, stream = world.hub(), FakeStream()
    async with running(hub):
        with hub.joined("dep", stream):
            world.log.revision = 1
            await asyncio.sleep(2.1)
            assert len(stream.drained) == 1
            assert await revision(hub) == 1
            # what is missing was in a commit that is lost, and nobody has deleted it
            assert not hub.trusts("history")


@virtual_time
async def test_files_that_change_without_a_log_are_found_and_not_trusted() -> None:
    world = World()
    world.edit("global.yml", b"a")
    hub, stream = world.hub(), FakeStream()
    async with running(hub):
        with hub.joined("dep", stream):
            assert hub.trusts("history")
            world.log.files.clear()
            await asyncio.sleep(299)
            assert stream.drained == []
            await asyncio.sleep(4)
            assert len(stream.drained) == 1
            assert not hub.trusts("history")
            world.edit("global.yml", b"b")
            await asyncio.sleep(3)
            assert not hub.trusts("history")


@virtual_time
async def test_a_newer_stream_of_a_deployer_drains_the_older_one() -> None:
    hub, older, newer = World().hub(), FakeStream(), FakeStream()
    with hub.joined("dep", older):
        with hub.joined("dep", newer):
            assert len(older.drained) == 1
            assert hub.streams["dep"] is newer
        assert "dep" not in hub.streams
    assert hub.streams == {}


@virtual_time
async def test_only_so_many_streams_are_taken() -> None:
    world = World()
    hub = world.hub(max_streams=1)
    with hub.joined("one", FakeStream(unacknowledged_for=3.0)):
        with pytest.raises(LimitExceeded), hub.joined("two", FakeStream()):
            raise AssertionError("taken")
        assert world.registry.get_sample_value("rulecast_streams") == 1
        assert world.registry.get_sample_value("rulecast_stream_unacknowledged_seconds") == 3.0
    with hub.joined("two", FakeStream()):
        assert hub.streams.keys() == {"two"}


@virtual_time
async def test_groups_are_read_only_for_who_serves_a_part() -> None:
    world = World()
    world.groups.groups = {"prod": Group("prod", "env", "prod"), "dev": Group("dev", "env", "dev")}
    world.log.edit({"global.yml": b"a", "group-dev.yml": b"b", "group-prod.yml": b"c", "namespace-env.yml": b"d"})
    hub = world.hub()
    async with running(hub):
        await hub.view()
        assert world.groups.asked == []
        async with hub.serving(PROD):
            view = await hub.view(PROD)
            assert view.files().keys() == {"global.yml", "group-prod.yml", "namespace-env.yml"}
            assert world.groups.asked == [{"prod", "dev"}]
            async with hub.serving(PROD):
                assert len(world.groups.asked) == 1
        world.edit("global.yml", b"b")
        await hub.follow()
        assert len(world.groups.asked) == 1


@virtual_time
async def test_only_a_group_that_moves_is_a_new_grouping() -> None:
    world = World()
    world.groups.groups = {"prod": Group("prod", "env", "prod"), "dev": Group("dev", "env", "dev")}
    world.log.edit({"group-dev.yml": b"b"})
    hub = world.hub()
    async with running(hub), hub.serving(PROD):
        grouping = (await hub.view(PROD)).grouping
        async with hub.serving((NamespaceScope("other"), GroupScope("guest"))):
            pass
        world.groups.groups["new"] = Group("new", "env", "new")
        world.edit("group-new.yml", b"c")
        await hub.follow()
        assert (await hub.view(PROD)).grouping == grouping
        world.groups.groups["dev"] = Group("dev", "env", "dev", "prod")
        world.edit("global.yml", b"d")
        await hub.follow()
        view = await hub.view(PROD)
        assert view.grouping == grouping + 1
        assert view.takes("group-dev.yml")


@virtual_time
async def test_a_served_group_that_is_made_later_is_a_new_grouping() -> None:
    world = World()
    world.groups.groups["dev"] = Group("dev", "env", "dev")
    world.log.edit({"group-dev.yml": b"b"})
    hub = world.hub()
    async with running(hub), hub.serving(PROD):
        before = await hub.view(PROD)
        # as long as nobody knows what is served, nothing is left out
        assert before.takes("group-dev.yml")
        world.groups.groups["prod"] = Group("prod", "env", "prod")
        world.log.edit({})
        await hub.follow()
        view = await hub.view(PROD)
        assert not view.takes("group-dev.yml")
        assert view.grouping != before.grouping
