"""One stream: greeting, updates, outcomes, commands, signs of life. On virtual time, with a pipeline on fakes."""

import asyncio
from datetime import timedelta

import pytest

from rulecast.capabilities import FRAGMENTS
from rulecast.digest import manifest_hash
from rulecast.errors import RulecastError, Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb
from tests.support.follow import HEARTBEAT, following, hold_validation
from tests.support.pipeline_fakes import World
from tests.support.rule_files import BROKEN, batch, rule_file
from tests.support.virtual_time import settled, virtual_time

A, B = rule_file("a"), rule_file("b")
State = common_pb2.Rollout


async def deployed(**files: bytes) -> World:
    """A world whose disk and Prometheus have these files: `group_a` is `group-a.yml`."""
    world = World()
    await world.pipeline.recover()
    await world.pipeline.apply(batch({f"{name.replace('_', '-')}.yml": content for name, content in files.items()}))
    return world


@virtual_time
async def test_a_new_deployer_gets_its_files_and_answers() -> None:
    async with following() as here:
        service = await here.welcomed(mode=pb.Welcome.DIFF)
        assert list((await service.hear("inventory")).files) == []

        status = await service.applied({"global.yml": A}, revision=4)

        assert (status.state, status.revision, list(status.files)) == (State.ACTIVE, 4, [])
        assert status.manifest_hash == here.world.pipeline.state().manifest_hash
        assert here.world.directory.files == {"global.yml": A}
        assert here.world.prometheus.running == {"global.yml": A}
        assert [set(result.outcomes) for result in here.results] == [{"global.yml"}]


@virtual_time
async def test_equal_files_are_not_listed_when_welcomed_as_up_to_date() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed(mode=pb.Welcome.UP_TO_DATE)

        await service.hear("heartbeat")

        assert service.said("inventory") == []


@virtual_time
async def test_nothing_is_touched_before_the_last_fragment() -> None:
    async with following() as here:
        service = await here.welcomed()
        service.update({"global.yml": A}, more=True)
        await asyncio.sleep(1)
        assert here.world.directory.files == {}
        service.hang_up()
        again = await here.welcomed()
        await again.hear("heartbeat")

        assert here.world.directory.files == {}
        assert here.world.prometheus.reloads == 0


@virtual_time
async def test_a_refused_file_is_named_and_the_others_go_on() -> None:
    async with following() as here:
        service = await here.welcomed()

        status = await service.applied({"group-a.yml": A, "group-b.yml": BROKEN})

        assert status.state == State.REJECTED
        assert [(file.file_name, file.reason) for file in status.files] == [("group-b.yml", "PROMTOOL_CHECK_FAILED")]
        assert here.world.prometheus.running == {"group-a.yml": A}


@virtual_time
async def test_a_file_with_other_bytes_than_its_hash_is_refused() -> None:
    async with following() as here:
        service = await here.welcomed()
        wrong = pb.FilePut(file_name="global.yml", sha256=b"0" * 32, total_size=len(A), content=A)

        service.say(1, update=pb.Update(puts=[wrong], to_revision=2))
        while (status := await service.hear("status")).nonce != 1:
            continue

        assert [(file.file_name, file.reason) for file in status.files] == [("global.yml", "HASH_MISMATCH")]
        assert here.world.directory.files == {}


@virtual_time
async def test_a_file_that_was_in_trouble_is_named_when_it_becomes_active() -> None:
    async with following() as here:
        service = await here.welcomed()
        await service.applied({"group-b.yml": BROKEN}, files={})

        status = await service.applied({"group-b.yml": B}, revision=2)

        assert [(file.file_name, file.state) for file in status.files] == [("group-b.yml", State.ACTIVE)]


@virtual_time
async def test_a_deferred_file_is_told_of_when_it_becomes_active_by_itself() -> None:
    async with following() as here:
        service = await here.welcomed()
        here.world.prometheus.up = False
        assert (await service.applied({"global.yml": A})).state == State.DEFERRED

        here.world.prometheus.restart()
        await here.world.pipeline.check_drift()
        news = await service.hear("status")

        assert (news.nonce, news.state) == (0, State.ACTIVE)
        assert [(file.file_name, file.state) for file in news.files] == [("global.yml", State.ACTIVE)]


@virtual_time
async def test_news_that_nobody_heard_are_told_on_the_next_stream() -> None:
    async with following() as here:
        service = await here.welcomed()
        here.world.prometheus.up = False
        await service.applied({"global.yml": A})
        service.hang_up()
        await service.stream.closed.wait()
        here.world.prometheus.restart()
        await here.world.pipeline.check_drift()

        again = await here.welcomed()
        status = await again.hear("status")

        assert [(file.file_name, file.state) for file in status.files] == [("global.yml", State.ACTIVE)]


@virtual_time
async def test_news_that_were_lost_on_their_way_are_told_on_the_next_stream() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        await service.hear("status")
        here.world.prometheus.globs = ()
        here.world.prometheus.restart()
        await here.world.pipeline.check_drift()
        assert [file.state for file in (await service.hear("status")).files] == [State.DEFERRED]
        here.world.prometheus.globs = ("/rules/*.yml",)
        service.stream.broken = Unavailable.of("", Reason.STREAM_LOST, "cut")
        await here.world.pipeline.reload()
        await service.stream.closed.wait()

        status = await (await here.welcomed()).hear("status")

        assert [(file.file_name, file.state) for file in status.files] == [("group-a.yml", State.ACTIVE)]


@virtual_time
async def test_what_was_told_once_is_not_told_again_on_the_next_stream() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        await service.hear("status")
        service.hang_up()

        again = await here.welcomed()
        await again.hear("heartbeat")

        assert again.said("status") == []


@virtual_time
async def test_a_new_process_tells_how_every_file_stands() -> None:
    async with following(await deployed(group_a=A, group_b=B)) as here:
        service = await here.welcomed()

        status = await service.hear("status")

        assert status.nonce == 0
        assert [(file.file_name, file.state) for file in status.files] == [
            ("group-a.yml", State.ACTIVE),
            ("group-b.yml", State.ACTIVE),
        ]


@virtual_time
async def test_epoch_and_history_are_kept() -> None:
    async with following() as here:
        service = await here.stream()
        service.epoch = 5
        await service.welcome(history_id="other")
        await service.applied({"global.yml": A})

        record = here.world.journal.record
        assert record is not None
        assert (record.epoch, record.history_id) == (5, "other")


@virtual_time
async def test_the_commit_of_the_revision_is_kept_and_said_in_hello() -> None:
    async with following() as here:
        service = await here.stream()
        assert (await service.welcome()).commit_id == ""
        service.update({"global.yml": A}, revision=4, commit_id="four")
        while (await service.hear("status")).nonce == 0:
            continue
        service.hang_up()

        service = await here.stream()
        hello = await service.welcome()
        assert (hello.revision, hello.commit_id) == (4, "four")
        files = here.world.pipeline.state().manifest_hash
        service.say(progress=pb.Progress(revision=5, manifest_hash=files, commit_id="five"))
        await settled()
        service.hang_up()

        service = await here.stream()
        hello = await service.welcome(history_id="other")
        assert (hello.revision, hello.commit_id) == (5, "five")
        await settled()
        record = here.world.pipeline.state().record
        assert (record.history_id, record.revision, record.commit_id) == ("other", 0, "")


@virtual_time
async def test_an_older_epoch_is_refused_and_nothing_of_it_applied() -> None:
    world = World()
    await world.pipeline.recover()
    await world.pipeline.remember(epoch=5)
    async with following(world) as here:
        service = await here.welcomed()
        service.update({"global.yml": A})

        await service.stream.closed.wait()

        assert world.directory.files == {}
        assert world.pipeline.state().record.epoch == 5


@virtual_time
async def test_an_older_epoch_in_the_middle_of_a_stream_ends_it() -> None:
    async with following() as here:
        service = await here.stream()
        service.epoch = 5
        await service.welcome()
        await service.applied({"global.yml": A})
        service.epoch = 4
        service.update({"global.yml": B}, revision=2)

        await service.stream.closed.wait()

        assert here.world.directory.files == {"global.yml": A}


@virtual_time
async def test_heartbeats_go_on_while_a_batch_is_applied() -> None:
    async with following() as here:
        service = await here.welcomed()
        gate = hold_validation(here.world)
        nonce = service.update({"global.yml": A})
        for _ in range(5):
            service.say(progress=pb.Progress())
            heartbeat = await service.hear("heartbeat")
            assert (heartbeat.applying, heartbeat.busy) == (nonce, True)
        gate.set()
        while (status := await service.hear("status")).nonce != nonce:
            continue

        assert status.state == State.ACTIVE
        assert status.took.ToTimedelta() >= timedelta(seconds=4 * HEARTBEAT)
        heartbeat = await service.hear("heartbeat")
        assert (heartbeat.applying, heartbeat.busy) == (0, False)


@virtual_time
async def test_an_update_that_waits_its_turn_is_not_overdue_either() -> None:
    async with following() as here:
        service = await here.welcomed()
        service.update({"global.yml": A}, more=True)
        assert (await service.hear("heartbeat")).applying == 0, "it is not all here"
        gate = hold_validation(here.world)
        service.say(command=pb.Command(id=7, kind=pb.Command.VALIDATE))
        nonce = service.update({"global.yml": A})
        heartbeat = await service.hear("heartbeat")
        assert (heartbeat.applying, heartbeat.busy) == (nonce, True)
        gate.set()
        assert (await service.hear("command_result")).ok


@pytest.mark.parametrize("capabilities", [[], [FRAGMENTS], ["other"]])
@virtual_time
async def test_a_large_inventory_goes_in_pieces_to_whom_can_take_them(capabilities: list[str]) -> None:
    names = [f"group-{number:05}-{'x' * 50}.yml" for number in range(10_000)]
    world = World()
    world.directory.files = dict.fromkeys(names, b"groups: []")
    async with following(world) as here:
        service = await here.welcomed(mode=pb.Welcome.DIFF, capabilities=capabilities)
        pieces = [await service.hear("inventory")]
        while pieces[-1].more:
            pieces.append(await service.hear("inventory"))
        assert [file.file_name for piece in pieces for file in piece.files] == names
        assert (len(pieces) > 1) == (FRAGMENTS in capabilities)


@virtual_time
async def test_a_silent_rule_service_is_left_after_three_heartbeats() -> None:
    async with following() as here:
        service = await here.welcomed()
        began = asyncio.get_running_loop().time()

        await service.stream.closed.wait()

        assert asyncio.get_running_loop().time() - began == pytest.approx(3 * HEARTBEAT)
        assert here.world.prometheus.reloads == 0


@virtual_time
async def test_a_rule_service_that_does_not_read_is_left_too() -> None:
    async with following() as here:
        service = await here.welcomed()
        await service.hear("heartbeat")
        service.stream.stuck = True
        async with asyncio.TaskGroup() as group:

            async def talk() -> None:
                while not service.stream.closed.is_set():
                    service.say(progress=pb.Progress())
                    await asyncio.sleep(1)

            group.create_task(talk(), name="talk")
            async with asyncio.timeout(5 * HEARTBEAT):
                await service.stream.closed.wait()

        assert service.stream.said.empty()


@virtual_time
async def test_a_silent_rule_service_is_left_before_it_welcomes() -> None:
    async with following() as here:
        service = await here.stream()
        await service.hear("hello")

        await service.stream.closed.wait()

        assert asyncio.get_running_loop().time() == pytest.approx(30)


@virtual_time
async def test_a_batch_that_has_begun_is_finished_when_the_stream_is_cut() -> None:
    async with following() as here:
        service = await here.welcomed()
        gate = hold_validation(here.world)
        service.update({"global.yml": A})
        await settled()
        service.fail(Unavailable.of("", Reason.STREAM_LOST, "cut"))
        await settled()
        gate.set()

        hello = await (await here.stream()).welcome()

        assert here.world.prometheus.running == {"global.yml": A}
        assert hello.manifest_hash == here.world.pipeline.state().manifest_hash
        assert hello.revision == 1


@virtual_time
async def test_progress_moves_the_revision_on() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        mine = here.world.pipeline.state().manifest_hash

        service.say(progress=pb.Progress(revision=9, manifest_hash=mine))
        beat = await service.hear("heartbeat")

        assert (beat.revision, beat.manifest_hash) == (9, mine)
        assert service.said("inventory") == []


@virtual_time
async def test_files_that_are_not_as_they_should_be_are_compared_once() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        service.say(progress=pb.Progress(revision=2, manifest_hash=b"x" * 32))
        inventory = await service.hear("inventory")
        assert [file.file_name for file in inventory.files] == ["group-a.yml"]

        service.say(progress=pb.Progress(revision=3, manifest_hash=b"y" * 32))
        await service.stream.closed.wait()

        assert asyncio.get_running_loop().time() < HEARTBEAT


@virtual_time
async def test_lost_contents_are_asked_for_whatever_else_is_in_trouble() -> None:
    async with following(await deployed(group_a=A, group_b=B)) as here:
        service = await here.welcomed()
        directory = here.world.directory
        directory.files.clear()
        directory.contents.clear()
        await service.applied({"group-c.yml": BROKEN}, files={"group-a.yml": A, "group-b.yml": B})
        inventory = await service.hear("inventory")
        assert not inventory.files

        await service.applied({"group-b.yml": B}, files={"group-b.yml": B}, revision=2)
        assert here.world.pipeline.state().record.troubles.keys() == {"group-c.yml"}


@virtual_time
async def test_a_comparison_that_helped_is_forgotten() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        service.say(progress=pb.Progress(revision=2, manifest_hash=b"x" * 32))
        await service.hear("inventory")

        await service.applied({"group-b.yml": B}, files={"group-a.yml": A, "group-b.yml": B}, revision=2)
        service.say(progress=pb.Progress(revision=3, manifest_hash=b"y" * 32))

        await service.hear("inventory")


@virtual_time
async def test_files_in_trouble_explain_a_difference() -> None:
    async with following() as here:
        service = await here.welcomed()
        await service.applied({"group-b.yml": BROKEN})
        service.say(progress=pb.Progress(revision=2, manifest_hash=b"x" * 32))

        await service.hear("heartbeat")

        assert service.said("inventory") == []


@virtual_time
async def test_commands_are_obeyed_and_answered() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        await service.hear("effective")
        before = here.world.prometheus.reloads

        service.say(command=pb.Command(id=1, kind=pb.Command.RELOAD))
        assert await service.hear("command_result") == pb.CommandResult(id=1, ok=True)
        assert here.world.prometheus.reloads == before + 1
        service.say(command=pb.Command(id=2, kind=pb.Command.RESYNC))
        assert [file.file_name for file in (await service.hear("inventory")).files] == ["group-a.yml"]
        assert await service.hear("command_result") == pb.CommandResult(id=2, ok=True)
        service.say(command=pb.Command(id=3, kind=pb.Command.REPORT))
        assert (await service.hear("effective")).prometheus_up
        assert await service.hear("command_result") == pb.CommandResult(id=3, ok=True)
        service.say(command=pb.Command(id=4, kind=pb.Command.VALIDATE))
        assert await service.hear("command_result") == pb.CommandResult(id=4, ok=True)


@virtual_time
async def test_a_command_that_fails_says_why() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        here.world.prometheus.up = False
        here.world.checker.error = Unavailable.of("", Reason.PROMTOOL_MISSING, "no promtool")

        service.say(command=pb.Command(id=1, kind=pb.Command.RELOAD))
        service.say(command=pb.Command(id=2, kind=pb.Command.VALIDATE))
        service.say(command=pb.Command(id=3, kind=99))  # type: ignore[arg-type]  # of a newer protocol
        results = [await service.hear("command_result") for _ in range(3)]

        assert [(each.id, each.ok, each.reason) for each in results] == [
            (1, False, "PROMETHEUS_UNREACHABLE"),
            (2, False, "PROMTOOL_MISSING"),
            (3, False, "PROTOCOL_UNSUPPORTED"),
        ]


@virtual_time
async def test_the_effective_state_is_sent_when_it_changes_and_only_then() -> None:
    async with following(await deployed(group_a=A)) as here:
        service = await here.welcomed()
        assert (await service.hear("effective")).prometheus_up
        for _ in range(3):
            service.say()
            await service.hear("heartbeat")
        assert len(service.said("effective")) == 1

        here.world.prometheus.up = False
        await here.world.pipeline.check_drift()

        assert not (await service.hear("effective")).prometheus_up


@virtual_time
async def test_an_unknown_message_is_no_harm() -> None:
    async with following() as here:
        service = await here.welcomed()
        service.say()

        assert (await service.applied({"global.yml": A})).state == State.ACTIVE


@virtual_time
async def test_a_broken_update_ends_the_stream_and_touches_nothing() -> None:
    async with following() as here:
        service = await here.welcomed()
        short = pb.FilePut(file_name="global.yml", sha256=b"h" * 32, total_size=9, content=b"short")
        service.say(1, update=pb.Update(puts=[short], to_revision=1))

        await service.stream.closed.wait()

        assert here.world.directory.files == {}


@virtual_time
async def test_names_that_are_not_ours_are_refused() -> None:
    async with following() as here:
        service = await here.welcomed()

        status = await service.applied({"../../etc/passwd": A}, files={})

        assert [(file.file_name, file.reason) for file in status.files] == [("../../etc/passwd", "ID_INVALID")]
        assert here.world.directory.files == {}


@pytest.mark.parametrize("error", [Unavailable.of("", Reason.STREAM_LOST, "cut"), None])
def test_a_stream_that_stays_cut_changes_nothing(error: RulecastError | None) -> None:
    @virtual_time
    async def run() -> None:
        async with following(await deployed(group_a=A)) as here:
            service = await here.welcomed()
            await service.hear("heartbeat")
            reloads = here.world.prometheus.reloads
            for _ in range(5):
                service.stream.answers.put_nowait(error)
                service = await here.stream()

            assert here.world.directory.files == {"group-a.yml": A}
            assert here.world.prometheus.reloads == reloads

    run()


def test_the_hash_of_no_files_is_that_of_an_empty_manifest() -> None:
    assert World().pipeline.state().manifest_hash == manifest_hash({})
