"""The rule service's metrics: their names, and what they count. `rulecast.rpc.metrics` has those of its RPCs.

Those of `rulecast_rollout_` are about deployers. Every replica shows the same, so aggregate over replicas with `max`.
"""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rule_service.usecases.ports_fates import FateState
from rule_service.usecases.ports_watch import EditOutcome, Overview
from rulecast.process.metrics import CounterOf, GaugeOf, HistogramOf
from rulecast.reasons import Reason

READY: Final = GaugeOf("rulecast_ready", "1 when this replica can do its work, as `/health/ready` says.")
DATABASE_UP: Final = GaugeOf("rulecast_database_up", "1 when the database answered last.")
REVISION: Final = GaugeOf("rulecast_revision", "The newest revision.")
RULES: Final = GaugeOf("rulecast_rules", "Alert rules that are not deleted, by state: enabled or disabled.", ("state",))
FILES: Final = GaugeOf("rulecast_files", "Rendered rule files.")
RENDERED_RULES: Final = GaugeOf("rulecast_rendered_rules", "Rules in the rendered files.")

EDITS: Final = CounterOf(
    "rulecast_edits_total",
    "Writes that were tried, by method and by outcome: committed, unchanged, dry_run, refused (the request is at fault)"
    " or failed (the rule service or a part it needs is).",
    ("method", "outcome"),
)
PROMTOOL_SECONDS: Final = HistogramOf("rulecast_promtool_seconds", "What one run of promtool took, in seconds.")
PROMTOOL_FAILURES: Final = CounterOf(
    "rulecast_promtool_failures_total", "Runs of promtool that gave no verdict, by reason.", ("reason",)
)

STREAMS: Final = GaugeOf("rulecast_streams", "Deployers with a stream to this replica.")
STREAM_UNACKNOWLEDGED: Final = GaugeOf(
    "rulecast_stream_unacknowledged_seconds",
    "Age of the oldest Update that its deployer has not answered, in seconds; 0 where there is none.",
)
STREAM_REVISION: Final = GaugeOf("rulecast_stream_revision", "The newest revision that this replica's streams know of.")
STREAM_UPDATES: Final = CounterOf("rulecast_stream_updates_total", "Updates sent.")
STREAM_BYTES: Final = CounterOf("rulecast_stream_update_bytes_total", "Bytes of Updates sent.")
STREAM_OUTCOMES: Final = CounterOf(
    "rulecast_stream_outcomes_total", "Outcomes of files that deployers reported.", ("state",)
)
STREAM_ACKNOWLEDGED: Final = HistogramOf(
    "rulecast_stream_acknowledge_seconds", "From the last fragment of an Update to its answer, in seconds."
)
STREAM_WAKEUPS: Final = CounterOf(
    "rulecast_stream_wakeups_total", "Looks for changes, by what was the reason: notify or poll.", ("source",)
)
STREAMS_ENDED: Final = CounterOf("rulecast_streams_ended_total", "Streams that ended, by the reason.", ("reason",))

CONNECTED: Final = GaugeOf(
    "rulecast_rollout_connected", "1 while the deployer is connected, to any replica.", ("deployer",)
)
LAG_REVISIONS: Final = GaugeOf(
    "rulecast_rollout_lag_revisions", "Revisions that the deployer has not taken up yet.", ("deployer",)
)
LAG_SECONDS: Final = GaugeOf(
    "rulecast_rollout_lag_seconds",
    "Age of the oldest revision that the deployer has not taken up, in seconds; 0 when it has taken up all.",
    ("deployer",),
)
TROUBLED_FILES: Final = GaugeOf(
    "rulecast_rollout_files",
    "Files of the deployer that are not ACTIVE, by state: REJECTED, ROLLED_BACK or DEFERRED.",
    ("deployer", "state"),
)
DRIFTED_FILES: Final = GaugeOf(
    "rulecast_rollout_drifted_files", "Files that somebody else changed, as the deployer last said.", ("deployer",)
)

_TROUBLES: Final = (FateState.REJECTED, FateState.ROLLED_BACK, FateState.DEFERRED)


class StreamMetrics:
    """What the streams show of themselves. One for the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._streams = STREAMS.make(registry)
        self._unacknowledged = STREAM_UNACKNOWLEDGED.make(registry)
        self._revision = STREAM_REVISION.make(registry)
        self._updates = STREAM_UPDATES.make(registry)
        self._bytes = STREAM_BYTES.make(registry)
        self._files = STREAM_OUTCOMES.make(registry)
        self._answered = STREAM_ACKNOWLEDGED.make(registry)
        self._wakeups = STREAM_WAKEUPS.make(registry)
        self._ended = STREAMS_ENDED.make(registry)
        for source in ("notify", "poll"):
            self._wakeups.labels(source)

    def watch(self, streams: Callable[[], float], unacknowledged: Callable[[], float]) -> None:
        """Who tells how many streams there are, and the age in seconds of the oldest unanswered Update."""
        self._streams.set_function(streams)
        self._unacknowledged.set_function(unacknowledged)

    def at_revision(self, revision: int) -> None:
        self._revision.set(revision)

    def sent(self, size: int) -> None:
        """An Update was sent. size: bytes of all its fragments."""
        self._updates.inc()
        self._bytes.inc(size)

    def answered(self, seconds: float) -> None:
        self._answered.observe(seconds)

    def outcome(self, state: str) -> None:
        self._files.labels(state).inc()

    def woken(self, source: str) -> None:
        """source: `notify` or `poll`."""
        self._wakeups.labels(source).inc()

    def ended(self, reason: str) -> None:
        self._ended.labels(reason).inc()


class EditMetrics:
    """Implements `EditWatch`, and counts the runs of promtool."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._edits = EDITS.make(registry)
        self._promtool = PROMTOOL_SECONDS.make(registry)
        self._promtool_failures = PROMTOOL_FAILURES.make(registry)

    def edited(self, method: str, outcome: EditOutcome) -> None:
        self._edits.labels(method, outcome).inc()

    def promtool_ran(self, seconds: float) -> None:
        self._promtool.observe(seconds)

    def promtool_failed(self, reason: Reason) -> None:
        self._promtool_failures.labels(reason).inc()


class OverviewMetrics(Collector):
    """Gauges of the whole: what the database said when it was last asked.

    overview: None before the first answer. up: whether the database answered last. ready: whether the replica is.
    """

    def __init__(
        self, overview: Callable[[], Overview | None], up: Callable[[], bool], ready: Callable[[], bool]
    ) -> None:
        self._overview = overview
        self._up = up
        self._ready = ready

    def collect(self) -> Iterable[Metric]:
        yield READY.family(self._ready())
        yield DATABASE_UP.family(self._up())
        overview = self._overview()
        if overview is not None:
            yield from _of_database(overview)


def _of_database(overview: Overview) -> Iterable[Metric]:
    totals = overview.totals
    yield REVISION.family(totals.revision)
    yield FILES.family(totals.files)
    yield RENDERED_RULES.family(totals.rendered_rules)
    rules, connected, drifted = RULES.family(), CONNECTED.family(), DRIFTED_FILES.family()
    revisions, seconds, troubled = LAG_REVISIONS.family(), LAG_SECONDS.family(), TROUBLED_FILES.family()
    rules.add_metric(["enabled"], totals.enabled_rules)
    rules.add_metric(["disabled"], totals.disabled_rules)
    for deployer in overview.deployers:
        connected.add_metric([deployer.id], deployer.connected)
        drifted.add_metric([deployer.id], deployer.drifted_files)
        revisions.add_metric([deployer.id], deployer.lag_revisions)
        seconds.add_metric([deployer.id], deployer.lag_seconds)
        for state in _TROUBLES:
            troubled.add_metric([deployer.id, state], deployer.troubles.get(state, 0))
    yield from (rules, connected, drifted, revisions, seconds, troubled)
