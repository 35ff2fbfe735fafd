"""The deployer's metrics: their names, and what they count. `rulecast.rpc.metrics` has those of its RPCs."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Final, assert_never

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deployer_service.state import (
    Active,
    BatchResult,
    Deferred,
    Outcome,
    PipelineState,
    PrometheusStatus,
    Rejected,
    RolledBack,
    Unchanged,
)
from rulecast.process.metrics import CounterOf, GaugeOf, HistogramOf
from rulecast.reasons import Reason

CONNECTED: Final = GaugeOf("rulecast_deployer_connected", "1 with a stream to a rule service.")
REVISION: Final = GaugeOf("rulecast_deployer_revision", "The last revision taken up.")
EPOCH: Final = GaugeOf("rulecast_deployer_epoch", "The highest epoch ever given.")
GENERATION: Final = GaugeOf("rulecast_deployer_generation", "Rises each time that files are put on disk.")
FILES: Final = GaugeOf("rulecast_deployer_files", "Rule files of ours on disk.")
RULES: Final = GaugeOf("rulecast_deployer_rules", "Rules in the files of ours.")
TROUBLES: Final = GaugeOf("rulecast_deployer_files_in_trouble", "Files that are not active now.", ("state", "reason"))

UPSTREAM_CREDENTIALS_FAILURES: Final = CounterOf(
    "rulecast_deployer_upstream_credentials_failures_total",
    "Connections for which token or certificate could not be read anew, so that the ones before were used.",
)

BATCHES: Final = CounterOf("rulecast_deployer_batches_total", "Batches applied.")
BATCH_SECONDS: Final = HistogramOf(
    "rulecast_deployer_batch_seconds", "From the last fragment of an Update to its outcome, in seconds."
)
BATCH_FILES: Final = CounterOf(
    "rulecast_deployer_files_total", "Files of batches, by what became of them and why.", ("state", "reason")
)
STEPS: Final = HistogramOf(
    "rulecast_deployer_step_seconds",
    "What promtool (validate), a reload and reading the rules back (verify) took, in seconds.",
    ("step",),
)
RELOAD_FAILURES: Final = CounterOf("rulecast_deployer_reload_failures_total", "Reloads that failed.", ("reason",))
ROLLBACKS: Final = CounterOf(
    "rulecast_deployer_rollbacks_total", "How often files were put back as Prometheus last ran them."
)

DRIFTED: Final = GaugeOf("rulecast_deployer_drifted_files", "Files that somebody else changed, at the last look.")
DRIFT: Final = CounterOf("rulecast_deployer_drift_total", "Files that somebody else was found to have changed.")
UNVERIFIED: Final = GaugeOf(
    "rulecast_deployer_unverified_files", "Files that Prometheus is not known to run as they are on disk."
)
VERIFIED: Final = GaugeOf(
    "rulecast_deployer_verified_timestamp_seconds",
    "When Prometheus was last seen to run files that were in doubt, as a Unix time; none before the first.",
)
PROMETHEUS_UP: Final = GaugeOf("rulecast_deployer_prometheus_up", "1 when Prometheus answered last.")
RELOAD_OK: Final = GaugeOf(
    "rulecast_deployer_prometheus_reload_successful",
    "1 when Prometheus says that its last reload worked; none before it has said anything.",
)
RELOADED: Final = GaugeOf(
    "rulecast_deployer_prometheus_reload_timestamp_seconds",
    "When Prometheus says that it last loaded its configuration, as a Unix time; none before it has said.",
)


class Metrics:
    """Counters and histograms; `StateMetrics` has the gauges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batches = BATCHES.make(registry)
        self._batch_seconds = BATCH_SECONDS.make(registry)
        self._files = BATCH_FILES.make(registry)
        self._steps = STEPS.make(registry)
        self._reload_failures = RELOAD_FAILURES.make(registry)

    def batch(self, result: BatchResult, seconds: float) -> None:
        """seconds: from the last fragment of its Update."""
        if not result.outcomes:
            return  # it only moved the revision on
        self._batches.inc()
        self._batch_seconds.observe(seconds)
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
        yield CONNECTED.family(self._connected())
        yield REVISION.family(record.revision)
        yield EPOCH.family(record.epoch)
        yield GENERATION.family(record.generation)
        yield FILES.family(len(record.files))
        yield RULES.family(sum(version.rules for version in record.files.values()))
        yield DRIFTED.family(len(state.drifted))
        yield DRIFT.family(state.drifts)
        yield ROLLBACKS.family(state.rollbacks)
        yield UNVERIFIED.family(len(state.unproven))
        if record.verified_at is not None:
            yield VERIFIED.family(record.verified_at.timestamp())
        yield from _of_prometheus(state.prometheus)
        troubles = TROUBLES.family()
        for labels, count in Tally(kind_of(report.outcome) for report in record.troubles.values()).items():
            troubles.add_metric(labels, count)
        yield troubles


def _of_prometheus(prometheus: PrometheusStatus) -> Iterable[Metric]:
    yield PROMETHEUS_UP.family(prometheus.up)
    if prometheus.last_reload_time is not None:
        yield RELOAD_OK.family(prometheus.last_reload_ok)
        yield RELOADED.family(prometheus.last_reload_time.timestamp())


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
