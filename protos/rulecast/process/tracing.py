"""Sends spans to where OpenTelemetry's own variables say. Off, and nothing imported, where they name no endpoint."""

from collections.abc import Mapping
from typing import Final

from rulecast.process.supervise import CanNotStart
from rulecast.process.telemetry import SOFTWARE_VERSION
from rulecast.tracing import install

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""One of them switches tracing on. OTLP over gRPC, e.g. http://collector:4317."""


class TracingNotInstalled(CanNotStart):
    """An endpoint is named, but the packages are not there; the message says what to do."""


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether an endpoint is set, and OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER do not say no."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


def configure_tracing(service: str, instance: str, environment: Mapping[str, str]) -> bool:
    """Whether spans are sent from now on. Call once, at start. What is left is sent when the process ends.

    service, instance: its kind, e.g. `rulecast-deployer`, and its name; OTEL_SERVICE_NAME and
    OTEL_RESOURCE_ATTRIBUTES win over them. Raises TracingNotInstalled.
    """
    if not wanted(environment):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingNotInstalled(
            f"{next(name for name in ENDPOINTS if environment.get(name))} is set, but {error.name} is not installed: "
            "install rulecast[tracing], or unset the variable"
        ) from error
    ours = {"service.name": service, "service.instance.id": instance, "service.version": SOFTWARE_VERSION}
    provider = TracerProvider(resource=Resource(ours).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    install(provider.get_tracer("rulecast", SOFTWARE_VERSION))
    return True
