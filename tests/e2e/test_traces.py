"""One trace leads from an RPC over both services to the rules that Prometheus runs, at a collector that speaks OTLP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from deploy.local.parts import PrometheusParts
from rulecast.rpc.interceptors import REQUEST_ID
from rulecast.tracing import TRACEPARENT
from rulecast.v1 import common_pb2, rule_pb2
from tests.support.solo import solo
from tests.support.system import RPC, cpu_rule, global_scope
from tests.support.waiting import wait_for

TRACE = "ab" * 16
CALLER = "cd" * 8


@dataclass
class Collector(pb_grpc.TraceServiceServicer):
    """The spans that were sent, with the name of the service that sent them."""

    spans: list[tuple[str, Span]] = field(default_factory=list)

    async def Export(  # noqa: N802
        self,
        request: pb.ExportTraceServiceRequest,
        context: grpc.aio.ServicerContext[pb.ExportTraceServiceRequest, pb.ExportTraceServiceResponse],
    ) -> pb.ExportTraceServiceResponse:
        for of_resource in request.resource_spans:
            (service,) = (
                each.value.string_value for each in of_resource.resource.attributes if each.key == "service.name"
            )
            self.spans += [(service, span) for of_scope in of_resource.scope_spans for span in of_scope.spans]
        return pb.ExportTraceServiceResponse()

    def of_trace(self, trace_id: str) -> dict[str, tuple[str, Span]]:
        """The spans of one trace, by service and name; the last one of each."""
        return {
            f"{service}/{span.name.rpartition('/')[2]}": (service, span)
            for service, span in self.spans
            if span.trace_id.hex() == trace_id
        }


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, dict[str, str]]]:
    """And the settings with which a service sends its spans there."""
    collector, server = Collector(), grpc.aio.server()
    pb_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield (
            collector,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"},
        )
    finally:
        await server.stop(0.5)


def parents(spans: dict[str, tuple[str, Span]]) -> dict[str, str]:
    """The name of each span's parent."""
    by_id = {span.span_id: name for name, (_, span) in spans.items()}
    return {name: by_id.get(span.parent_span_id, span.parent_span_id.hex()) for name, (_, span) in spans.items()}


async def test_from_the_call_to_active(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    async with (
        collecting() as (collector, settings),
        solo(tmp_path, database, prometheus_parts, settings=settings, deployer_settings=settings) as here,
    ):
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        rule = rule_pb2.AlertRule(id="everywhere")
        rule.config.parameters["threshold"].number_value = 80
        request = rule_pb2.UpdateAlertRuleRequest(
            rule=rule, update_mask=FieldMask(paths=["config.parameters.threshold"]), wait_for=common_pb2.ACTIVE
        )
        metadata = grpc.aio.Metadata((TRACEPARENT, f"00-{TRACE}-{CALLER}-01"), (REQUEST_ID, "traced"))
        answer = await here.first.rules.UpdateAlertRule(request, timeout=RPC, metadata=metadata)
        assert answer.change.rollout.state == common_pb2.Rollout.ACTIVE

        service, deployer = "rulecast-rule-service", "rulecast-deployer"
        expected = {
            f"{service}/UpdateAlertRule": CALLER,
            f"{service}/validate": f"{service}/UpdateAlertRule",
            f"{service}/commit": f"{service}/UpdateAlertRule",
            f"{service}/deliver": f"{service}/commit",
            f"{deployer}/apply": f"{service}/deliver",
            f"{deployer}/stage": f"{deployer}/apply",
            f"{deployer}/validate": f"{deployer}/apply",
            f"{deployer}/commit": f"{deployer}/apply",
            f"{deployer}/reload": f"{deployer}/apply",
            f"{deployer}/verify": f"{deployer}/apply",
            f"{service}/record outcome": f"{service}/deliver",
        }
        await wait_for(lambda: collector.of_trace(TRACE).keys() >= expected.keys(), RPC)
        spans = collector.of_trace(TRACE)
        assert parents(spans) == expected
        facts = {each.key: each.value for each in spans[f"{service}/deliver"][1].attributes}
        assert facts["rulecast.deployer"].string_value == "deployer"
        assert facts["rulecast.revision"].int_value == answer.change.revision
        assert facts["rulecast.state"].string_value == "ACTIVE"
        request_id = {each.key: each.value for each in spans[f"{service}/UpdateAlertRule"][1].attributes}
        assert request_id["rulecast.request_id"].string_value == "traced"


async def test_a_collector_that_is_not_there_stops_nothing(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with collecting() as (_, settings):
        pass
    async with solo(tmp_path, database, prometheus_parts, settings=settings, deployer_settings=settings) as here:
        async with asyncio.timeout(RPC):
            rollout = await here.create(cpu_rule("everywhere", global_scope(), 90))
        assert rollout.state == common_pb2.Rollout.ACTIVE
