"""The metrics of a gRPC server, which both services have."""

from typing import Final

import grpc
from prometheus_client import CollectorRegistry

from rulecast.errors import InvalidInput, RulecastError
from rulecast.process.metrics import FAST, CounterOf, HistogramOf

_CALL: Final = ("grpc_type", "grpc_service", "grpc_method")

STARTED: Final = CounterOf("grpc_server_started_total", "RPCs started.", _CALL)
HANDLED: Final = CounterOf("grpc_server_handled_total", "RPCs ended, by status code.", (*_CALL, "grpc_code"))
HANDLING: Final = HistogramOf(
    "grpc_server_handling_seconds", "From the start of an RPC to its end; of a stream, its life.", _CALL, FAST
)
REFUSED: Final = CounterOf(
    "rulecast_refusals_total", "Calls that ended in an error, by its first reason.", ("grpc_service", "reason")
)
VALIDATION_FAILURES: Final = CounterOf(
    "rulecast_validation_failures_total",
    "What was found wrong with input: each field that was refused, by its reason.",
    ("reason",),
)
RATE_LIMITED: Final = CounterOf(
    "rulecast_rate_limited_total",
    "Calls refused because their caller made too many, by kind: read or write.",
    ("kind",),
)

_KINDS: Final = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


class RpcMetrics:
    """The usual three metrics of a gRPC server, and why calls were refused."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = STARTED.make(registry)
        self._handled = HANDLED.make(registry)
        self._seconds = HANDLING.make(registry)
        self._refused = REFUSED.make(registry)
        self._failures = VALIDATION_FAILURES.make(registry)
        self._limited = RATE_LIMITED.make(registry)
        for kind in ("read", "write"):
            self._limited.labels(kind)

    def started(self, call: tuple[str, str, str]) -> None:
        self._started.labels(*call).inc()

    def ended(self, call: tuple[str, str, str], code: grpc.StatusCode, seconds: float) -> None:
        self._handled.labels(*call, code.name).inc()
        self._seconds.labels(*call).observe(seconds)

    def refused(self, service: str, error: RulecastError) -> None:
        """service: its full name, or `http` for what does not become an RPC."""
        self._refused.labels(service, error.reason).inc()
        if isinstance(error, InvalidInput):
            for violation in error.violations:
                self._failures.labels(violation.reason).inc()

    def limited(self, kind: str) -> None:
        """kind: `read` or `write`."""
        self._limited.labels(kind).inc()


def labels_of(method: str, *, request_streaming: bool, response_streaming: bool) -> tuple[str, str, str]:
    """Kind, service and method of a call. method: as gRPC names it, e.g. `/rulecast.v1.GroupService/GetGroup`."""
    service, _, name = method.lstrip("/").rpartition("/")
    return _KINDS[request_streaming, response_streaming], service, name
