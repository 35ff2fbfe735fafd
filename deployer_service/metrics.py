"""The deployer's metrics: their names, and what they count."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deployer_service.state import (
    Active,
    BatchResult,
    Deferred,
    Outcome,
    PipelineState,
    Rejected,
    RolledBack,
    Unchanged,
)
from rulecast.reasons import Reason

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters and histograms; `StateMetrics` has the gauges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batches = Counter("rulecast_deployer_batches_total", "Batches applied.", registry=registry)
        self._files = Counter(
            "rulecast_deployer_files_total",
            "Files of batches, by what became of them and why.",
            ["state", "reason"],
            registry=registry,
        )
        self._steps = Histogram(
            "rulecast_deployer_step_seconds",
            "What promtool, a reload and reading the rules back took, in seconds.",
            ["step"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._reload_failures = Counter(
            "rulecast_deployer_reload_failures_total", "Reloads that failed.", ["reason"], registry=registry
        )

    def batch(self, result: BatchResult) -> None:
        if not result.outcomes:
            return  # it only moved the revision on
        self._batches.inc()
        for report in result.outcomes.values():
            state, reason = kind_of(report.outcome)
            self._files.labels(state, reason).inc()

    def step(self, name: str, seconds: float) -> None:
        self._steps.labels(name).observe(seconds)

    def reload_failed(self, reason: Reason) -> None:
        self._reload_failures.labels(reason).inc()


class StateMetrics(Collector):
    """Gauges, read from the state whenever they are asked for."""

    def __init__(self, state: Callable[[], PipelineState], connected: Callable[[], bool]) -> None:
        self._state = state
        self._connected = connected

    def collect(self) -> Iterable[Metric]:
        state = self._state()
        record = state.record
        yield _gauge("connected", "1 with a stream to a rule service.", self._connected())
        yield _gauge("revision", "The last revision taken up.", record.revision)
        yield _gauge("epoch", "The highest epoch ever given.", record.epoch)
        yield _gauge("generation", "Rises each time that files are put on disk.", record.generation)
        yield _gauge("files", "Rule files of ours on disk.", len(record.files))
        yield _gauge("rules", "Rules in the files of ours.", sum(version.rules for version in record.files.values()))
        yield _gauge("drifted_files", "Files that somebody else changed, at the last look.", len(state.drifted))
        yield CounterMetricFamily(
            "rulecast_deployer_drift", "Files that somebody else was found to have changed.", value=state.drifts
        )
        yield _gauge("prometheus_up", "1 when Prometheus answered last.", state.prometheus.up)
        troubles = GaugeMetricFamily(
            "rulecast_deployer_files_in_trouble", "Files that are not active now.", labels=["state", "reason"]
        )
        for labels, count in Tally(kind_of(report.outcome) for report in record.troubles.values()).items():
            troubles.add_metric(labels, count)
        yield troubles


def kind_of(outcome: Outcome) -> tuple[str, str]:
    """The outcome as labels: state and reason."""
    match outcome:
        case Active():
            return "active", ""
        case Unchanged():
            return "unchanged", ""
        case Rejected(why):
            return "rejected", why.reason
        case RolledBack(why):
            return "rolled_back", why.reason
        case Deferred(why):
            return "deferred", why.reason
        case _:
            assert_never(outcome)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rulecast_deployer_{name}", what, value=value)
