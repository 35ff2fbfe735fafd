"""Spans: where they are made, how they are carried on, and that nothing is there where nobody asked for it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from rule_service.stream.traces import KEPT, LINKED, Traces
from rulecast import tracing
from rulecast.process import tracing as process_tracing
from rulecast.process.tracing import TracingNotInstalled, configure_tracing, wanted

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.install(provider.get_tracer("test"))
    yield exporter
    tracing.install(None)
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def test_a_span_of_a_span_that_came_over_the_wire(exported: InMemorySpanExporter) -> None:
    with tracing.span("rpc", PARENT, root=True, request_id="r-1") as rpc, tracing.span("commit") as commit:
        assert tracing.traceparent() == commit.traceparent
        carried = rpc.traceparent
    spans = by_name(exported)
    assert spans["rpc"].kind is SpanKind.SERVER
    assert parent_of(spans["rpc"]) == "b" * 16
    assert spans["rpc"].attributes == {"rulecast.request_id": "r-1"}
    assert carried == f"00-{'a' * 32}-{parent_of(spans['commit'])}-01"


def test_roots_are_made_only_where_it_is_said_so(exported: InMemorySpanExporter) -> None:
    with tracing.span("drift") as nothing, tracing.span("reload"):
        assert (nothing.traceparent, tracing.traceparent()) == ("", "")
    assert tracing.begin("deliver", "") is tracing.NOTHING
    with tracing.span("rpc", "no traceparent at all", root=True):
        pass
    assert list(by_name(exported)) == ["rpc"]
    assert by_name(exported)["rpc"].parent is None


def test_a_delivery_lasts_until_it_is_answered_and_is_linked_to_the_others(exported: InMemorySpanExporter) -> None:
    delivery = tracing.begin("deliver", PARENT, [f"00-{'c' * 32}-{'d' * 16}-01"], deployer="paris")
    assert not exported.get_finished_spans()
    delivery.failed("the stream ended")
    delivery.end()
    span = by_name(exported)["deliver"]
    assert [link.context.trace_id for link in span.links] == [int("c" * 32, 16)]
    assert (span.status.is_ok, span.status.description) == (False, "the stream ended")


async def test_what_a_task_does_belongs_to_the_span_it_was_started_in(exported: InMemorySpanExporter) -> None:
    async def work() -> None:
        with tracing.span("work"):
            pass

    with tracing.span("rpc", root=True):
        async with asyncio.TaskGroup() as group:
            group.create_task(work(), name="work")
    spans = by_name(exported)
    assert spans["work"].context is not None
    assert spans["rpc"].context is not None
    assert parent_of(spans["work"]) == f"{spans['rpc'].context.span_id:016x}"


def test_without_a_tracer_nothing_is_made() -> None:
    assert not tracing.enabled()
    assert isinstance(tracing.span("rpc", PARENT, root=True), nullcontext)
    with tracing.span("rpc", PARENT, root=True) as span:
        span.note(code="OK")
        span.failed("no")
        span.end()
        assert (span.traceparent, tracing.traceparent()) == ("", "")
    assert tracing.begin("deliver", PARENT) is tracing.NOTHING


def test_nothing_of_opentelemetry_is_imported_where_it_is_off() -> None:
    program = (
        "import os, sys\n"
        "import deployer_service.wiring, rule_service.wiring\n"
        "from rulecast.process.tracing import configure_tracing\n"
        "assert not configure_tracing('rulecast', 'one', {})\n"
        "found = [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "sys.exit(str(found) if found else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_switch_it_on(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on


def test_an_endpoint_without_the_packages_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(TracingNotInstalled, match=r"install rulecast\[tracing\], or unset the variable"):
        configure_tracing("rulecast", "one", {process_tracing.ENDPOINTS[1]: "http://a:4317"})


def test_the_traces_of_the_newest_revisions_are_kept() -> None:
    traces = Traces()
    for revision in range(1, KEPT + 11):
        traces.heard(f"{revision} trace-{revision}")
    for nonsense in ("", "7", "seven trace", "-1 trace"):
        traces.heard(nonsense)
    assert traces.between(0, 10) == ()
    assert traces.between(19, 21) == ("trace-21", "trace-20")
    assert len(traces.between(0, KEPT)) == 1 + LINKED
