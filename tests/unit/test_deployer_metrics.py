"""What the deployer counts and measures."""

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from deployer_service.adapters.measured import MeasuredChecker, MeasuredPrometheus
from deployer_service.metrics import Metrics, StateMetrics
from deployer_service.state import Active, BatchResult, Deferred, FileReport, Outcome, Rejected, RolledBack, Why
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason
from tests.support.pipeline_fakes import World
from tests.support.rule_files import BROKEN, batch, rule_file

A = rule_file("a")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"rulecast_deployer_{name}", labels)


def result(*outcomes: Outcome) -> BatchResult:
    reports = {f"group-{n}.yml": FileReport(f"group-{n}.yml", b"", outcome, NOW) for n, outcome in enumerate(outcomes)}
    return BatchResult(reports, 1, {})


def test_files_are_counted_by_what_became_of_them(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    full, bad = Why(Reason.DISK_FULL, "full"), Why(Reason.PROMTOOL_CHECK_FAILED, "bad")

    metrics.batch(result(Active(), Active(), Rejected(bad), RolledBack(bad)), 0.5)
    metrics.batch(result(Deferred(full)), 0.5)
    metrics.batch(result(), 0.5)

    assert value(registry, "batches_total") == 2
    assert value(registry, "files_total", state="active", reason="") == 2
    assert value(registry, "files_total", state="rejected", reason="PROMTOOL_CHECK_FAILED") == 1
    assert value(registry, "files_total", state="rolled_back", reason="PROMTOOL_CHECK_FAILED") == 1
    assert value(registry, "files_total", state="deferred", reason="DISK_FULL") == 1


async def test_gauges_follow_the_state(registry: CollectorRegistry) -> None:
    world, connected = World(), [False]
    await world.pipeline.recover()
    registry.register(StateMetrics(world.pipeline.state, lambda: connected[0]))
    assert (value(registry, "files"), value(registry, "connected")) == (0, 0)

    connected[0] = True
    await world.pipeline.remember(epoch=4)
    await world.pipeline.apply(batch({"global.yml": A, "group-b.yml": BROKEN}, revision=9))

    assert (value(registry, "files"), value(registry, "rules"), value(registry, "connected")) == (1, 1, 1)
    assert (value(registry, "revision"), value(registry, "epoch"), value(registry, "generation")) == (9, 4, 1)
    assert (value(registry, "prometheus_up"), value(registry, "drifted_files")) == (1, 0)
    assert value(registry, "drift_total") == 0
    assert value(registry, "files_in_trouble", state="rejected", reason="PROMTOOL_CHECK_FAILED") == 1


async def test_steps_are_measured_and_failed_reloads_counted(registry: CollectorRegistry) -> None:
    world, metrics = World(), Metrics(registry)
    checker = MeasuredChecker(world.checker, metrics, world.clock)
    prometheus = MeasuredPrometheus(world.prometheus, metrics, world.clock)
    world.prometheus.reload_faults = [FailedPrecondition.of("", Reason.RELOAD_FAILED, "500")]

    await checker.check([])
    await prometheus.loaded()
    with pytest.raises(FailedPrecondition):
        await prometheus.reload(30.0)
    await prometheus.reload(30.0)

    counts = {step: value(registry, "step_seconds_count", step=step) for step in ("validate", "reload", "verify")}
    assert counts == {"validate": 1, "reload": 2, "verify": 1}
    assert value(registry, "reload_failures_total", reason="RELOAD_FAILED") == 1


async def test_readiness_is_not_asked_where_that_is_switched_off(registry: CollectorRegistry) -> None:
    world, metrics = World(), Metrics(registry)
    world.prometheus.up = False

    await MeasuredPrometheus(world.prometheus, metrics, world.clock, ask_ready=False).check_ready()
    with pytest.raises(Unavailable):
        await MeasuredPrometheus(world.prometheus, metrics, world.clock).check_ready()
