"""Spans of OpenTelemetry, from an RPC to what Prometheus runs. Nothing at all until `install` is called.

A span is made only within another one, or for a parent that came over the wire; roots are made where it is said so.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # an optional extra: see `rulecast.process.tracing`
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

TRACEPARENT: Final = "traceparent"
"""Metadata key and HTTP header (W3C Trace Context): the span that a call is made in."""

Value = str | int | float | bool


class Span:
    """One piece of work. What is done to one that is not recorded has no effect."""

    __slots__ = ("_inner",)

    def __init__(self, inner: "OtelSpan | None" = None) -> None:
        self._inner = inner

    @property
    def traceparent(self) -> str:
        """For whoever goes on with the work elsewhere; empty where nothing is recorded."""
        return "" if self._inner is None else _written(self._inner)

    def note(self, **attributes: Value) -> None:
        if self._inner is not None:
            for name, value in attributes.items():
                self._inner.set_attribute(f"rulecast.{name}", value)

    def failed(self, why: str) -> None:
        if self._inner is not None:
            from opentelemetry.trace import StatusCode

            self._inner.set_status(StatusCode.ERROR, why)

    def end(self) -> None:
        if self._inner is not None:
            self._inner.end()


NOTHING: Final = Span()
_NOWHERE: Final = nullcontext(NOTHING)
_tracer: "Tracer | None" = None


def install(tracer: "Tracer | None") -> None:
    """From now on spans are given to this tracer; None: to nobody."""
    global _tracer  # noqa: PLW0603  # of the process, as OpenTelemetry's own is
    _tracer = tracer


def enabled() -> bool:
    return _tracer is not None


def traceparent() -> str:
    """Of the span that the caller runs in; empty where there is none."""
    if _tracer is None:
        return ""
    from opentelemetry.trace import get_current_span

    return _written(get_current_span())


def begin(name: str, parent: str, links: Sequence[str] = (), **attributes: Value) -> Span:
    """A span that lasts until `end`, and that nothing runs in. NOTHING without a parent.

    parent, links: each a traceparent.
    """
    if _tracer is None or not parent:
        return NOTHING
    from opentelemetry.trace import Link, SpanKind, get_current_span

    linked = [Link(get_current_span(_read(link)).get_span_context()) for link in links]
    started = Span(_tracer.start_span(name, _read(parent), SpanKind.PRODUCER, links=linked))
    started.note(**attributes)
    return started


def span(name: str, parent: str = "", *, root: bool = False, **attributes: Value) -> AbstractContextManager[Span]:
    """What is done within is a span: of the parent, or of the span that the caller runs in.

    root: one is begun where there is neither; it is then the server's side of a call. What is raised is noted.
    """
    if _tracer is None:
        return _NOWHERE
    return _within(_tracer, name, parent, root, attributes)


@contextmanager
def _within(tracer: "Tracer", name: str, parent: str, root: bool, attributes: dict[str, Value]) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind

    if not (parent or root or traceparent()):
        yield NOTHING
        return
    context = _read(parent) if parent else None
    kind = SpanKind.SERVER if root else SpanKind.INTERNAL
    with tracer.start_as_current_span(name, context, kind) as started:
        made = Span(started)
        made.note(**attributes)
        yield made


def _written(inner: "OtelSpan") -> str:
    context = inner.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _read(text: str) -> "Context":
    """A text that is no traceparent gives a context without a span."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: text}, Context())
