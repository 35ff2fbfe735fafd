"""What the streams show of themselves on `/metrics`."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class StreamMetrics:
    """One for the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._streams = Gauge("rulecast_streams", "Deployers with a stream to this replica.", registry=registry)
        self._unacknowledged = Gauge(
            "rulecast_stream_unacknowledged_seconds",
            "Age of the oldest Update that its deployer has not answered; 0 where there is none.",
            registry=registry,
        )
        self._revision = Gauge(
            "rulecast_stream_revision", "The newest revision that this replica knows of.", registry=registry
        )
        self._updates = Counter("rulecast_stream_updates_total", "Updates sent.", registry=registry)
        self._bytes = Counter("rulecast_stream_update_bytes_total", "Bytes of Updates sent.", registry=registry)
        self._files = Counter(
            "rulecast_stream_outcomes_total", "Outcomes of files that deployers reported.", ["state"], registry=registry
        )
        self._answered = Histogram(
            "rulecast_stream_acknowledge_seconds",
            "From the last fragment of an Update to its answer.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._wakeups = Counter(
            "rulecast_stream_wakeups_total",
            "Looks for changes, by what was the reason: notify or poll.",
            ["source"],
            registry=registry,
        )
        self._ended = Counter(
            "rulecast_streams_ended_total", "Streams that ended, by the reason.", ["reason"], registry=registry
        )
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
