"""What becomes of a batch, whatever fails: on fakes that pass the contract suites of the real parts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from deployer_service.pipeline.ports import PipelinePolicy, ReloadPolicy
from deployer_service.state import (
    Active,
    BatchResult,
    Deferred,
    FileReport,
    Rejected,
    RolledBack,
    file_set,
)
from rulecast.digest import file_sha256
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason
from tests.support.pipeline_fakes import RULES, VirtualClock, World
from tests.support.rule_files import BROKEN, batch, rule_file

A1, A2 = rule_file("a", version=1), rule_file("a", version=2)
B1, B2 = rule_file("b", version=1), rule_file("b", version=2)
A, B, C = "group-a.yml", "group-b.yml", "group-c.yml"


def fates(result: BatchResult) -> dict[str, str]:
    """Each file's outcome and, where there is one, its reason."""
    return {name: fate(report) for name, report in result.outcomes.items()}


def fate(report: FileReport) -> str:
    kind = type(report.outcome).__name__
    match report.outcome:
        case Rejected(why) | RolledBack(why) | Deferred(why):
            return f"{kind} {why.reason}"
        case _:
            return kind


@pytest.fixture
async def world() -> World:
    world = World()
    await world.pipeline.recover()
    return world


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.ensure_future(world.pipeline.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class TestApply:
    async def test_a_batch_becomes_active_with_one_check_and_one_reload(self, world: World) -> None:
        result = await world.pipeline.apply(batch({A: A1, B: B1}, revision=5))
        assert fates(result) == {A: "Active", B: "Active"}
        assert world.directory.files == world.prometheus.running == {A: A1, B: B1}
        assert len(world.checker.checked) == 1
        assert world.prometheus.reloads == 1
        assert result.revision == 5
        assert result.manifest == {A: file_sha256(A1), B: file_sha256(B1)}
        state = world.pipeline.state()
        assert state.record == world.journal.record
        assert (state.record.revision, state.record.generation) == (5, 1)
        assert state.record.good == state.record.files
        assert {name: report.sha256 for name, report in result.outcomes.items()} == dict(result.manifest)

    async def test_the_same_again_does_nothing(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        result = await world.pipeline.apply(batch({A: A1}, [B], revision=2))
        assert fates(result) == {A: "Unchanged", B: "Unchanged"}
        assert world.prometheus.reloads == 1
        assert world.pipeline.state().record.revision == 2

    async def test_a_deletion(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        result = await world.pipeline.apply(batch({}, [A]))
        assert fates(result) == {A: "Active"}
        assert result.outcomes[A].sha256 == b""
        assert world.prometheus.running == {B: B1}

    async def test_a_bad_file_is_rejected_alone(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        result = await world.pipeline.apply(batch({A: BROKEN, B: B1, "../x": b""}, revision=2))
        assert fates(result) == {
            A: "Rejected PROMTOOL_CHECK_FAILED",
            B: "Active",
            "../x": "Rejected ID_INVALID",
        }
        outcome = result.outcomes[A].outcome
        assert isinstance(outcome, Rejected)
        assert (outcome.why.group, outcome.why.rule) == ("g", "Alert_broken")
        assert world.directory.files == world.prometheus.running == {A: A1, B: B1}
        assert world.pipeline.state().record.troubles.keys() == {A, "../x"}

    async def test_a_rejected_file_that_comes_back_as_it_was_is_in_no_trouble(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        await world.pipeline.apply(batch({A: BROKEN}))
        await world.pipeline.apply(batch({A: A1}))
        assert not world.pipeline.state().record.troubles

    async def test_a_file_that_is_not_yaml_is_rejected_without_promtool_too(self) -> None:
        world = World(PipelinePolicy(validate=False))
        result = await world.pipeline.apply(batch({A: b"groups: [", B: B1}))
        assert fates(result) == {A: "Rejected PROMTOOL_CHECK_FAILED", B: "Active"}
        assert world.checker.checked == []

    async def test_a_mass_deletion_is_refused(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1, C: A1}))
        result = await world.pipeline.apply(batch({}, [A, B]))
        assert fates(result) == {A: "Rejected MASS_DELETION", B: "Rejected MASS_DELETION"}
        assert len(world.prometheus.running) == 3

    async def test_old_contents_are_kept_for_five_generations(self, world: World) -> None:
        versions = [rule_file("a", version=number) for number in range(10)]
        for content in versions:
            await world.pipeline.apply(batch({A: content}))
        assert world.directory.contents.keys() == {file_sha256(content) for content in versions[-5:]}

    async def test_files_of_others_are_left_alone(self, world: World) -> None:
        world.directory.files["alerts.yml"] = b"groups:\n"
        await world.pipeline.apply(batch({A: A1}))
        await world.pipeline.check_drift()
        await world.pipeline.apply(batch({}, [A, "alerts.yml"]))
        assert world.directory.files == {"alerts.yml": b"groups:\n"}

    async def test_deleted_and_moved_rules_leave_in_the_right_order(self, world: World) -> None:
        await world.pipeline.apply(batch({A: rule_file("r1", "r2"), B: rule_file("r3")}))
        await world.pipeline.apply(batch({A: rule_file("r1"), C: rule_file("r2", "r3")}, [B]))
        assert [step.file_name for step in world.directory.moves[-1]] == [C, A, B]


class TestRollBack:
    async def test_a_file_that_only_prometheus_refuses_goes_back_alone(self) -> None:
        world = World(PipelinePolicy(validate=False))
        await world.pipeline.apply(batch({A: A1, B: B1}))
        result = await world.pipeline.apply(batch({A: BROKEN, B: B2}))
        assert fates(result) == {A: "RolledBack RELOAD_FAILED", B: "Active"}
        assert result.outcomes[A].sha256 == file_sha256(BROKEN)
        assert world.directory.files == world.prometheus.running == {A: A1, B: B2}
        assert result.manifest == {A: file_sha256(A1), B: file_sha256(B2)}
        assert world.pipeline.state().prometheus.last_reload_ok

    async def test_a_new_file_goes_back_to_none(self) -> None:
        world = World(PipelinePolicy(validate=False))
        result = await world.pipeline.apply(batch({A: BROKEN}))
        assert fates(result) == {A: "RolledBack RELOAD_FAILED"}
        assert world.directory.files == {}

    async def test_without_promtool_all_of_the_batch_goes_back(self) -> None:
        world = World(PipelinePolicy(validate=False))
        world.checker.error = Unavailable.of("", Reason.PROMTOOL_MISSING, "no promtool")
        await world.pipeline.apply(batch({A: A1, B: B1}))
        result = await world.pipeline.apply(batch({A: BROKEN}, [B]))
        assert fates(result) == {A: "RolledBack RELOAD_FAILED", B: "RolledBack RELOAD_FAILED"}
        assert world.directory.files == world.prometheus.running == {A: A1, B: B1}

    async def test_a_file_that_prometheus_silently_does_not_load(self, world: World) -> None:
        await world.pipeline.apply(batch({B: B1}))
        world.prometheus.loses = {A}
        result = await world.pipeline.apply(batch({A: A1, B: B2}))
        assert fates(result) == {A: "RolledBack NOT_LOADED", B: "Active"}
        outcome = result.outcomes[A].outcome
        assert isinstance(outcome, RolledBack)
        assert "0 of 1 rules of group-a.yml" in outcome.why.message
        assert world.directory.files == {B: B2}

    async def test_a_deleted_file_that_prometheus_goes_on_running(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.prometheus.keeps = {A}
        result = await world.pipeline.apply(batch({}, [A]))
        assert fates(result) == {A: "RolledBack NOT_LOADED"}
        outcome = result.outcomes[A].outcome
        assert isinstance(outcome, RolledBack)
        assert "still runs 1 rules of it" in outcome.why.message
        assert world.directory.files == {A: A1, B: B1}

    async def test_what_prometheus_refuses_whatever_we_do_is_not_blamed_on_us(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.broken = True
        result = await world.pipeline.apply(batch({A: A2}, revision=2))
        assert fates(result) == {A: "Deferred RELOAD_FAILED"}
        assert world.directory.files == world.prometheus.running == {A: A1}
        world.prometheus.broken = False
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"
        assert report.sha256 == file_sha256(A2)
        assert world.prometheus.running == {A: A2}

    async def test_nobody_is_blamed_while_prometheus_does_not_answer(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        reload = world.prometheus.reload

        async def fail_and_die(timeout: float) -> None:
            world.prometheus.broken = True
            try:
                await reload(timeout)
            finally:
                world.prometheus.up = world.prometheus.reloads < 5

        world.prometheus.reload = fail_and_die  # type: ignore[method-assign]
        result = await world.pipeline.apply(batch({A: A2}))
        assert fates(result) == {A: "Deferred RELOAD_FAILED"}
        assert world.directory.files == {A: A1}
        world.prometheus.reload = reload  # type: ignore[method-assign]
        world.prometheus.broken = False
        world.prometheus.restart()
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"
        assert world.prometheus.running == {A: A2}

    async def test_a_bad_file_of_others_is_named(self, world: World) -> None:
        world.directory.foreign[RULES / "others.yml"] = BROKEN
        result = await world.pipeline.apply(batch({A: A1}))
        assert fates(result) == {A: "Deferred RELOAD_FAILED"}
        outcome = result.outcomes[A].outcome
        assert isinstance(outcome, Deferred)
        assert "/rules/others.yml: parse error" in outcome.why.message
        assert world.prometheus.reloads == 1
        world.directory.foreign.clear()
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"

    async def test_going_back_is_not_possible_without_the_content(self) -> None:
        world = World(PipelinePolicy(validate=False))
        await world.pipeline.apply(batch({A: A1, B: B1}))
        del world.directory.contents[file_sha256(A1)]
        result = await world.pipeline.apply(batch({A: BROKEN}))
        assert fates(result) == {A: "RolledBack RELOAD_FAILED"}
        assert world.directory.files == {B: B1}


class TestDeferred:
    async def test_prometheus_is_down_and_comes_back(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.up = False
        result = await world.pipeline.apply(batch({A: A2}, revision=2))
        assert fates(result) == {A: "Deferred PROMETHEUS_UNREACHABLE"}
        assert world.directory.files == {A: A2}
        assert result.manifest == {A: file_sha256(A2)}
        world.prometheus.restart()
        reloads = world.prometheus.reloads
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"
        assert world.prometheus.reloads == reloads, "it has loaded the files by itself when it started"
        assert not world.pipeline.state().record.troubles

    async def test_a_prometheus_that_is_known_to_be_down_is_not_waited_for(self, world: World) -> None:
        world.prometheus.up = False
        await world.pipeline.apply(batch({A: A1}))
        slept = len(world.clock.slept)
        await world.pipeline.apply(batch({A: A2}))
        assert len(world.clock.slept) == slept

    async def test_the_tries_back_off(self) -> None:
        clock = VirtualClock(by_itself=False)
        world = World(PipelinePolicy(deferred_delays=(1.0, 2.0, 5.0)), clock)
        world.prometheus.up = False
        await world.pipeline.recover()
        await world.pipeline.apply(batch({A: A1}))
        async with running(world):
            await clock.advance(30.0)
        tries = [seconds for seconds in clock.slept if seconds != world.policy.drift_interval]
        assert tries == [1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0]

    async def test_one_that_fails_the_content_later_rolls_back_with_news(self) -> None:
        world = World(PipelinePolicy(validate=False))
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.up = False
        await world.pipeline.apply(batch({A: BROKEN}))
        world.prometheus.up = True
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "RolledBack RELOAD_FAILED"
        assert world.directory.files == world.prometheus.running == {A: A1}

    async def test_an_earlier_file_becomes_active_with_a_later_batch(self, world: World) -> None:
        world.prometheus.up = False
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.up = True
        result = await world.pipeline.apply(batch({B: B1}))
        assert fates(result) == {B: "Active"}
        (report,) = await world.pipeline.news()
        assert (report.file_name, fate(report)) == (A, "Active")

    async def test_reloading_is_switched_off(self) -> None:
        world = World(PipelinePolicy(reload=ReloadPolicy(enabled=False)))
        await world.pipeline.recover()
        result = await world.pipeline.apply(batch({A: A1}))
        assert fates(result) == {A: "Deferred RELOAD_DISABLED"}
        assert world.prometheus.reloads == 0
        await world.prometheus.reload(1.0)
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"

    async def test_a_reload_that_is_refused(self, world: World) -> None:
        world.prometheus.refused = True
        result = await world.pipeline.apply(batch({A: A1}))
        assert fates(result) == {A: "Deferred RELOAD_REFUSED"}
        world.prometheus.restart()
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"

    async def test_a_reload_that_does_not_end(self, world: World) -> None:
        world.prometheus.reload_faults = [Unavailable.of("", Reason.RELOAD_TIMEOUT, "still at it")]
        result = await world.pipeline.apply(batch({A: A1}))
        assert fates(result) == {A: "Deferred RELOAD_TIMEOUT"}
        assert world.prometheus.reloads == 1

    async def test_rule_files_that_do_not_cover_the_directory(self) -> None:
        world = World()
        world.prometheus.globs = ("/elsewhere/*.yml",)
        await world.pipeline.recover()
        assert [notice.code for notice in world.pipeline.state().notices] == ["RULE_FILES_NOT_COVERED"]
        result = await world.pipeline.apply(batch({A: A1}))
        assert fates(result) == {A: "Deferred RULE_FILES_NOT_COVERED"}
        world.prometheus.globs = (f"{RULES}/*.yml",)
        world.prometheus.restart()
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"
        assert world.pipeline.state().notices == ()

    @pytest.mark.parametrize("step", ["open", "scan", "store", "move"])
    @pytest.mark.parametrize("reason", [Reason.DISK_FULL, Reason.READ_ONLY, Reason.PERMISSION_DENIED])
    async def test_a_disk_that_refuses(self, world: World, step: str, reason: Reason) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.directory.fail(step, reason)
        result = await world.pipeline.apply(batch({A: A2}, [B], revision=2))
        assert fates(result) == {A: f"Deferred {reason}", B: f"Deferred {reason}"}
        assert world.directory.files == world.prometheus.running == {A: A1, B: B1}
        assert result.manifest == file_set(world.pipeline.state().record.files)
        async with running(world):
            news = [report for _ in range(1) for report in await world.pipeline.news()]
        assert {report.file_name: fate(report) for report in news} == {A: "Active", B: "Active"}
        assert world.directory.files == world.prometheus.running == {A: A2}

    async def test_a_disk_that_refuses_to_go_back_too(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.directory.fail("move", Reason.READ_ONLY, times=2)
        result = await world.pipeline.apply(batch({A: A2}))
        assert fates(result) == {A: "Deferred READ_ONLY"}
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"
        assert world.journal.begun is None
        assert world.prometheus.running == {A: A2}

    async def test_a_journal_that_can_not_be_written(self, world: World) -> None:
        world.journal.faults["begin"] = [Unavailable.of("", Reason.DISK_FULL, "full")]
        assert fates(await world.pipeline.apply(batch({A: A1}))) == {A: "Deferred DISK_FULL"}
        assert world.directory.files == {}

    async def test_a_record_that_can_not_be_saved_costs_nothing(self, world: World) -> None:
        world.journal.faults["save"] = [Unavailable.of("", Reason.DISK_FULL, "full")]
        assert fates(await world.pipeline.apply(batch({A: A1}))) == {A: "Active"}

    async def test_a_promtool_that_does_not_work(self, world: World) -> None:
        world.checker.error = Unavailable.of("", Reason.PROMTOOL_TIMEOUT, "hangs")
        result = await world.pipeline.apply(batch({A: A1}))
        assert fates(result) == {A: "Deferred PROMTOOL_TIMEOUT"}
        assert world.directory.files == {}
        world.checker.error = None
        async with running(world):
            (report,) = await world.pipeline.news()
        assert fate(report) == "Active"

    async def test_a_configuration_that_prometheus_could_not_load(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        error = FailedPrecondition.of("", Reason.CONFIG_CHECK_FAILED, "prometheus.yml: bad")
        world.config_checker.error = error
        result = await world.pipeline.apply(batch({A: A2, B: BROKEN}))
        assert fates(result) == {A: "Deferred CONFIG_CHECK_FAILED", B: "Deferred CONFIG_CHECK_FAILED"}
        assert world.directory.files == world.prometheus.running == {A: A1}
        with pytest.raises(FailedPrecondition, match="bad"):
            await world.pipeline.validate()
        world.config_checker.error = None
        async with running(world):
            reports = await world.pipeline.news()
        assert {each.file_name: fate(each) for each in reports} == {A: "Active", B: "Rejected PROMTOOL_CHECK_FAILED"}

    async def test_the_configuration_is_not_checked_for_nothing(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        assert world.config_checker.runs == 1
        await world.pipeline.apply(batch({A: A1, B: BROKEN}))
        assert world.config_checker.runs == 1

    async def test_a_configuration_that_was_broken_after_it_was_checked_is_named(self, world: World) -> None:
        world.prometheus.broken = True
        reload = world.prometheus.reload

        async def breaks(timeout: float) -> None:
            world.config_checker.error = FailedPrecondition.of("", Reason.CONFIG_CHECK_FAILED, "prometheus.yml: bad")
            await reload(timeout)

        world.prometheus.reload = breaks  # type: ignore[method-assign]
        outcome = (await world.pipeline.apply(batch({A: A1}))).outcomes[A].outcome
        assert isinstance(outcome, Deferred)
        assert outcome.why.reason is Reason.RELOAD_FAILED
        assert "prometheus.yml: bad" in outcome.why.message

    async def test_a_later_batch_replaces_what_waits(self, world: World) -> None:
        world.directory.fail("store", Reason.DISK_FULL)
        await world.pipeline.apply(batch({A: A1, B: B1}))
        await world.pipeline.apply(batch({A: A2}, [B]))
        async with running(world):
            await asyncio.sleep(0)
        assert world.directory.files == {A: A2}
        assert not world.pipeline.state().record.troubles.keys() & {A}


class TestDrift:
    @pytest.mark.parametrize("content", [b"", A1[:20], BROKEN, rule_file("evil")])
    async def test_an_edited_file_is_put_right_and_a_copy_is_kept(self, world: World, content: bytes) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.directory.files[A] = content
        result = await world.pipeline.check_drift()
        assert result.drifted == (A,)
        assert [fate(report) for report in result.reports] == ["Active"]
        assert world.directory.files == {A: A1}
        assert list(world.directory.aside.values()) == [content]
        assert world.prometheus.reloads == 2, "nobody knows whether Prometheus had loaded the edit"
        assert world.pipeline.state().drifted == (A,)
        assert (await world.pipeline.check_drift()).drifted == ()
        assert world.pipeline.state().drifted == ()

    async def test_an_edit_that_prometheus_runs_is_reloaded_away(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.directory.files[A] = A2
        await world.prometheus.reload(1.0)
        result = await world.pipeline.check_drift()
        assert [fate(report) for report in result.reports] == ["Active"]
        assert world.prometheus.running == {A: A1}

    async def test_an_edit_that_keeps_the_annotations_and_that_prometheus_runs_is_reloaded_away(
        self, world: World
    ) -> None:
        await world.pipeline.apply(batch({A: A1}))
        by_hand = A1.replace(b"up == 0", b"up == 1")
        world.directory.files[A] = by_hand
        world.prometheus.restart()
        assert world.prometheus.running == {A: by_hand}
        await world.pipeline.check_drift()
        assert world.prometheus.running == {A: A1}

    async def test_an_edit_that_somebody_else_has_to_reload_away(self) -> None:
        world = World(PipelinePolicy(reload=ReloadPolicy(enabled=False)))
        await world.pipeline.apply(batch({A: A1}))
        await world.prometheus.reload(1.0)
        await world.pipeline.check_drift()
        assert not world.pipeline.state().record.troubles
        world.directory.files[A] = A1.replace(b"up == 0", b"up == 1")
        world.prometheus.restart()
        for _ in range(2):
            await world.pipeline.check_drift()
            assert [fate(each) for each in world.pipeline.state().record.troubles.values()] == [
                "Deferred RELOAD_DISABLED"
            ]
        world.prometheus.restart()
        assert world.prometheus.running == {A: A1}
        await world.pipeline.check_drift()
        assert not world.pipeline.state().record.troubles

    async def test_a_removed_and_an_added_file(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.directory.files = {B: B1}
        assert (await world.pipeline.check_drift()).drifted == (A, B)
        assert world.directory.files == {A: A1}

    async def test_drift_is_put_right_before_a_batch_is_done(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.directory.files[A] = BROKEN
        assert fates(await world.pipeline.apply(batch({B: B2}))) == {B: "Active"}
        assert world.prometheus.running == {A: A1, B: B2}
        assert world.pipeline.state().drifted == (A,)

    async def test_drift_that_can_not_be_put_right(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.directory.files[A] = A2
        world.directory.fail("move", Reason.READ_ONLY)
        result = await world.pipeline.check_drift()
        assert [fate(report) for report in result.reports] == ["Deferred READ_ONLY"]
        (report,) = await world.pipeline.news()
        assert fate(report) == "Deferred READ_ONLY"

    async def test_a_file_that_is_lost_with_its_content_has_to_be_sent_again(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.directory.files.clear()
        world.directory.contents.clear()
        result = await world.pipeline.check_drift()
        assert result.drifted == (A, B)
        state = world.pipeline.state()
        assert state.manifest == {}
        assert {fate(report) for report in state.record.troubles.values()} == {"Deferred DRIFT"}
        await world.pipeline.apply(batch({A: A1, B: B1}))
        assert not world.pipeline.state().record.troubles
        assert world.prometheus.running == {A: A1, B: B1}

    async def test_lost_files_are_told_whatever_the_batch_during_which_that_was_found(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.directory.files.clear()
        world.directory.contents.clear()
        assert fates(await world.pipeline.apply(batch({B: B2}))) == {B: "Active"}
        (report,) = await world.pipeline.news()
        assert (report.file_name, fate(report)) == (A, "Deferred DRIFT")
        assert world.pipeline.state().lost == {A}
        await world.pipeline.apply(batch({A: A1}))
        assert world.pipeline.state().lost == frozenset()
        assert world.prometheus.running == {A: A1, B: B2}

    async def test_lost_files_that_there_should_not_be_are_not_missed(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.directory.files = {B: B1}
        world.directory.contents.clear()
        await world.pipeline.check_drift()
        assert world.pipeline.state().lost == {A}
        again = world.again()
        await again.recover()
        assert again.state().lost == {A}
        await again.forget_lost()
        assert not again.state().record.troubles
        assert again.state().lost == frozenset()

    async def test_a_prometheus_that_was_restarted_with_other_files_is_noticed(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.restart()
        world.prometheus.running = {}
        await world.pipeline.check_drift()
        assert world.prometheus.running == {A: A1}

    async def test_an_unchanged_prometheus_is_not_asked_for_its_rules(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        await world.pipeline.check_drift()
        world.prometheus.running = {}
        assert (await world.pipeline.check_drift()).reports == ()

    @pytest.mark.parametrize("deployer_restarts", [False, True])
    async def test_an_edit_that_was_loaded_and_is_gone_from_the_disk_is_reloaded_away(
        self, world: World, deployer_restarts: bool
    ) -> None:
        """Between two looks: the annotation is the same, and so is the disk."""
        await world.pipeline.apply(batch({A: A1, B: B1}))
        by_hand = A1.replace(b"up == 0", b"up == 1")
        world.directory.files[A] = by_hand
        world.prometheus.restart()
        world.directory.files[A] = A1
        assert world.prometheus.running == {A: by_hand, B: B1}
        if deployer_restarts:
            await world.again().recover()
        else:
            result = await world.pipeline.check_drift()
            assert [fate(report) for report in result.reports] == ["Active"]
        assert world.pipeline.state().drifted == (A,)
        assert world.prometheus.running == {A: A1, B: B1}
        assert world.prometheus.reloads == 2
        reports = await world.pipeline.news()
        assert {report.file_name: fate(report) for report in reports} == {A: "Active"}
        assert (await world.pipeline.check_drift()).drifted == ()
        assert world.prometheus.reloads == 2

    async def test_an_edit_that_was_loaded_right_after_our_own_load_is_noticed_too(self, world: World) -> None:
        """Prometheus tells the time of a load in whole seconds: both look like one."""
        await world.pipeline.apply(batch({A: A1}))
        before = await world.prometheus.status()
        world.directory.files[A] = A1.replace(b"up == 0", b"up == 1")
        await world.prometheus.reload(1.0)
        world.directory.files[A] = A1
        assert await world.prometheus.status() == before
        await world.clock.sleep(1.0)
        assert (await world.pipeline.check_drift()).drifted == (A,)
        assert world.prometheus.running == {A: A1}

    async def test_such_an_edit_that_nobody_may_reload_away_stays_deferred_until_somebody_does(
        self, world: World
    ) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.directory.files[A] = A1.replace(b"up == 0", b"up == 1")
        world.prometheus.restart()
        world.directory.files[A] = A1
        world.prometheus.refused = True
        for _ in range(2):
            await world.pipeline.check_drift()
            (trouble,) = world.pipeline.state().record.troubles.values()
            assert fate(trouble) == "Deferred RELOAD_REFUSED"
        assert world.pipeline.state().drifts == 1
        world.prometheus.restart()
        await world.pipeline.check_drift()
        assert not world.pipeline.state().record.troubles

    async def test_another_version_of_prometheus_may_say_the_same_in_other_words(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.restart(version="3.5.0")
        world.prometheus.running = {A: A1 + b"# in other words\n"}
        assert (await world.pipeline.check_drift()).drifted == ()
        assert world.prometheus.reloads == 1
        # from the next load on it is known how this one says it
        await world.pipeline.apply(batch({B: B1}))
        await world.clock.sleep(1.0)
        await world.pipeline.check_drift()
        world.prometheus.restart(version="3.5.0")
        world.prometheus.running[A] = A1.replace(b"up == 0", b"up == 1")
        assert (await world.pipeline.check_drift()).drifted == (A,)

    async def test_the_watch_runs_by_itself(self) -> None:
        clock = VirtualClock(by_itself=False)
        world = World(PipelinePolicy(drift_interval=30.0, reload=ReloadPolicy(min_interval=0)), clock)
        await world.pipeline.apply(batch({A: A1}))
        world.directory.files[A] = A2
        async with running(world):
            await clock.advance(29.0)
            assert world.directory.files == {A: A2}
            await clock.advance(2.0)
        assert world.directory.files == {A: A1}


class TestRecover:
    async def test_the_next_process_knows_what_the_last_one_did(self, world: World) -> None:
        await world.pipeline.remember(epoch=4, history_id="h")
        await world.pipeline.apply(batch({A: A1}, revision=9))
        before = world.pipeline.state().record
        reloads = world.prometheus.reloads
        await world.again().recover()
        record = world.pipeline.state().record
        assert record.files == before.files == record.good
        assert (record.revision, record.epoch, record.history_id) == (9, 4, "h")
        assert world.prometheus.reloads == reloads

    async def test_a_revision_does_not_outlive_its_history(self, world: World) -> None:
        await world.pipeline.remember(epoch=4, history_id="h")
        await world.pipeline.apply(batch({A: A1}, revision=9))
        await world.pipeline.remember(epoch=5)
        assert world.pipeline.state().record.revision == 9
        await world.pipeline.remember(epoch=6, history_id="other")
        assert world.pipeline.state().record.revision == 0

    async def test_files_without_a_record_are_adopted(self) -> None:
        world = World()
        world.directory.files = {A: A1, "alerts.yml": b"groups:\n"}
        await world.pipeline.recover()
        assert world.pipeline.state().manifest == {A: file_sha256(A1)}
        assert world.prometheus.running[A] == A1
        assert await world.pipeline.list_files()

    async def test_a_lost_record_does_not_go_back_to_an_old_generation(self, world: World) -> None:
        for number in range(3):
            await world.pipeline.apply(batch({A: rule_file("a", version=number)}))
        world.journal.record = None
        await world.again().recover()
        assert world.pipeline.state().record.generation == 4

    async def test_a_change_begun_and_not_finished_is_finished(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        before = world.journal.record
        await world.pipeline.apply(batch({A: A2}, [B]))
        world.journal.begun, world.journal.record = world.journal.record, before
        world.directory.files = {A: A1, B: B1}
        await world.again().recover()
        assert world.directory.files == world.prometheus.running == {A: A2}
        assert world.journal.begun is None

    async def test_a_change_whose_content_is_gone_is_undone(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        before = world.journal.record
        await world.pipeline.apply(batch({A: A2}))
        world.journal.begun, world.journal.record = world.journal.record, before
        world.directory.files = {A: b"torn"}
        del world.directory.contents[file_sha256(A2)]
        await world.again().recover()
        assert world.directory.files == world.prometheus.running == {A: A1}

    async def test_what_was_deferred_becomes_active_after_a_restart_with_news(self, world: World) -> None:
        world.prometheus.up = False
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.up = True
        await world.again().recover()
        (report,) = await world.pipeline.news()
        assert (report.file_name, fate(report)) == (A, "Active")

    async def test_a_bad_file_put_in_place_before_a_crash_is_rolled_back(self) -> None:
        world = World(PipelinePolicy(validate=False))
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.up = False
        await world.pipeline.apply(batch({A: BROKEN}))
        world.prometheus.up = True
        await world.again().recover()
        (report,) = await world.pipeline.news()
        assert fate(report) == "RolledBack RELOAD_FAILED"
        assert world.directory.files == {A: A1}

    async def test_with_prometheus_down(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.up = False
        await world.again().recover()
        assert not world.pipeline.state().prometheus.up
        assert world.directory.files == {A: A1}

    @pytest.mark.parametrize("moment", ["begin", "move", "finish"])
    @pytest.mark.parametrize("done", [False, True])
    async def test_a_cancelled_batch_is_old_or_new_for_the_next(self, world: World, moment: str, done: bool) -> None:
        await world.pipeline.apply(batch({A: A1}))
        owner = world.directory if moment == "move" else world.journal
        real, reached = getattr(owner, moment), asyncio.Event()

        async def hang(*arguments: object) -> None:
            if done:
                await real(*arguments)
            reached.set()
            await asyncio.Event().wait()

        setattr(owner, moment, hang)
        task = asyncio.ensure_future(world.pipeline.apply(batch({A: A2})))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        setattr(owner, moment, real)
        assert fates(await world.pipeline.apply(batch({B: B1}))) == {B: "Active"}
        content = A1 if (moment, done) == ("begin", False) else A2
        assert world.directory.files == world.prometheus.running == {A: content, B: B1}
        assert world.pipeline.state().drifted == ()
        assert not world.pipeline.state().record.troubles


class TestControl:
    async def test_a_reload_verifies_all_files(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        world.prometheus.running = {}
        result = await world.pipeline.reload()
        assert result.reports == ()
        assert world.prometheus.running == {A: A1}

    async def test_a_reload_tells_what_prometheus_does_not_run(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        world.prometheus.loses = {A}
        (report,) = (await world.pipeline.reload()).reports
        assert (report.file_name, fate(report)) == (A, "Deferred NOT_LOADED")
        assert world.directory.files == {A: A1, B: B1}

    async def test_a_reload_that_is_not_possible_is_an_error(self, world: World) -> None:
        world.prometheus.refused = True
        with pytest.raises(FailedPrecondition) as caught:
            await world.pipeline.reload()
        assert caught.value.reason is Reason.RELOAD_REFUSED

    async def test_validate(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1, B: B1}))
        assert await world.pipeline.validate() == ()
        world.directory.files[A] = BROKEN
        (report,) = await world.pipeline.validate()
        assert (report.file_name, fate(report)) == (A, "Rejected PROMTOOL_CHECK_FAILED")

    async def test_listed_files_say_whether_prometheus_runs_them(self, world: World) -> None:
        await world.pipeline.apply(batch({A: A1}))
        await world.pipeline.apply(batch({A: BROKEN}))
        world.prometheus.up = False
        await world.pipeline.apply(batch({B: B1}, revision=3))
        files = {file.name: file for file in await world.pipeline.list_files()}
        assert isinstance(files[A].outcome, Active)
        assert isinstance(files[B].outcome, Deferred)
        assert files[B].path == "/rules/group-b.yml"
        assert (files[B].version.revision, files[B].version.rules) == (3, 1)

    async def test_news_of_one_file_does_not_pile_up(self, world: World) -> None:
        for _ in range(3):
            world.prometheus.up = False
            await world.pipeline.apply(batch({A: A1}))
            await world.pipeline.apply(batch({A: A2}))
            world.prometheus.up = True
            await world.pipeline.apply(batch({B: B1}))
            await world.pipeline.apply(batch({B: B2}))
        assert len(await world.pipeline.news()) == 1

    async def test_closing_lets_the_directory_go(self, world: World) -> None:
        await world.pipeline.close()
        assert not world.directory.opened
