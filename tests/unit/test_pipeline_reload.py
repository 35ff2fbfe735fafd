"""When and how often Prometheus is asked to reload, in virtual time."""

import pytest

from deployer_service.pipeline.ports import ReloadPolicy
from deployer_service.pipeline.reload import Reloader
from rulecast.errors import FailedPrecondition, RulecastError, Unavailable
from rulecast.reasons import Reason
from tests.support.pipeline_fakes import FakeDirectory, FakePrometheus, VirtualClock

TRANSIENT = Unavailable.of("", Reason.PROMETHEUS_UNREACHABLE, "connection reset")
FAILED = FailedPrecondition.of("", Reason.RELOAD_FAILED, "500")


class Bench:
    def __init__(self, policy: ReloadPolicy | None = None) -> None:
        self.clock = VirtualClock()
        self.prometheus = FakePrometheus(FakeDirectory(), self.clock)
        self.reloader = Reloader(self.prometheus, self.clock, policy or ReloadPolicy(min_interval=0))
        self.found_fault = False
        self.diagnosis_takes = 0.0

    async def reload(self, rules: int = 1, *, patient: bool = True) -> None:
        async def hopeless() -> bool:
            await self.clock.sleep(self.diagnosis_takes)
            return self.found_fault

        await self.reloader.reload(rules, hopeless, patient=patient)


async def test_a_healthy_one_is_reloaded_once_without_waiting() -> None:
    bench = Bench()
    await bench.reload()
    assert bench.prometheus.reloads == 1
    assert bench.clock.slept == []


async def test_what_may_pass_is_tried_again_after_1_2_and_4_seconds() -> None:
    bench = Bench()
    bench.prometheus.reload_faults = [TRANSIENT, FAILED, TRANSIENT]
    await bench.reload()
    assert bench.prometheus.reloads == 4
    assert bench.clock.slept == [1.0, 2.0, 4.0]


async def test_the_fourth_failure_is_the_last() -> None:
    bench = Bench()
    bench.prometheus.reload_faults = [TRANSIENT] * 9
    with pytest.raises(RulecastError) as caught:
        await bench.reload()
    assert caught.value is TRANSIENT
    assert bench.prometheus.reloads == 4


async def test_one_that_is_not_ready_is_not_reloaded() -> None:
    bench = Bench()
    bench.prometheus.up = False
    with pytest.raises(Unavailable) as caught:
        await bench.reload()
    assert caught.value.reason is Reason.PROMETHEUS_UNREACHABLE
    assert bench.prometheus.reloads == 0
    assert bench.clock.slept == [1.0, 2.0, 4.0]


async def test_an_impatient_one_does_not_wait_for_one_that_does_not_answer() -> None:
    bench = Bench()
    bench.prometheus.reload_faults = [TRANSIENT] * 2
    with pytest.raises(Unavailable):
        await bench.reload(patient=False)
    assert bench.prometheus.reloads == 1


async def test_an_impatient_one_does_not_blame_the_files_for_one_failure() -> None:
    bench = Bench()
    bench.prometheus.reload_faults = [FAILED] * 3
    await bench.reload(patient=False)
    assert bench.prometheus.reloads == 4


async def test_one_that_hangs_is_not_waited_for_four_times() -> None:
    bench = Bench()

    async def hang() -> None:
        await bench.clock.sleep(5.0)
        raise TRANSIENT

    bench.prometheus.check_ready = hang  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await bench.reload()
    assert bench.clock.slept == [5.0, 1.0, 5.0]


async def test_looking_for_the_fault_does_not_cost_a_try() -> None:
    """promtool takes seconds over very many files."""
    bench = Bench()
    bench.prometheus.reload_faults = [FAILED] * 3
    bench.diagnosis_takes = 60.0
    await bench.reload()
    assert bench.prometheus.reloads == 4


@pytest.mark.parametrize("reason", [Reason.RELOAD_REFUSED, Reason.RELOAD_TIMEOUT])
async def test_what_asking_again_can_not_change_is_not_tried_again(reason: Reason) -> None:
    bench = Bench()
    bench.prometheus.reload_faults = [Unavailable.of("", reason, "no")] * 2
    with pytest.raises(Unavailable):
        await bench.reload()
    assert bench.prometheus.reloads == 1
    assert bench.clock.slept == []


async def test_a_failure_whose_fault_was_found_is_not_tried_again() -> None:
    bench = Bench()
    bench.found_fault = True
    bench.prometheus.reload_faults = [FAILED] * 2
    with pytest.raises(FailedPrecondition):
        await bench.reload()
    assert bench.prometheus.reloads == 1


async def test_one_whose_last_reload_failed_after_all_is_not_believed() -> None:
    bench = Bench()
    bench.found_fault = True
    reload = bench.prometheus.reload

    async def reload_and_fail_another_one(timeout: float) -> None:
        await reload(timeout)
        bench.prometheus.broken = True
        with pytest.raises(FailedPrecondition):
            await reload(timeout)

    bench.prometheus.reload = reload_and_fail_another_one  # type: ignore[method-assign]
    with pytest.raises(FailedPrecondition, match="its last one failed"):
        await bench.reload(patient=False)


async def test_switched_off() -> None:
    bench = Bench(ReloadPolicy(enabled=False))
    with pytest.raises(FailedPrecondition) as caught:
        await bench.reload()
    assert caught.value.reason is Reason.RELOAD_DISABLED
    assert bench.prometheus.reloads == 0


@pytest.mark.parametrize(("rules", "timeout"), [(0, 30.0), (10_000, 30.0), (100_000, 200.0)])
async def test_the_timeout_grows_with_the_rules(rules: int, timeout: float) -> None:
    bench = Bench()
    await bench.reload(rules)
    assert bench.prometheus.timeouts == [timeout]


async def test_two_reloads_keep_their_distance() -> None:
    bench = Bench(ReloadPolicy(min_interval=0.5))
    await bench.reload()
    await bench.clock.sleep(0.2)
    await bench.reload()
    assert bench.clock.slept == [0.2, pytest.approx(0.3)]
    await bench.clock.sleep(0.5)
    await bench.reload()
    assert len(bench.clock.slept) == 3
