"""Traces for OpenTelemetry: a span for each request, and in it one for each stage of the work.

Switched on by the variables of OpenTelemetry (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin); its SDK
is not even imported without them.  Photos are biometric data: spans hold the route, sizes and
counts, never a path, query, header, coefficient or message.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from facewright import __version__
from facewright.service.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"


def tracing_from(environment: Mapping[str, str]) -> Tracing | None:
    """The tracing that OpenTelemetry's variables ask for; None when they ask for none.

    Raises `ConfigurationError` for an exporter or protocol other than OTLP over HTTP, and
    when the extra `otel` is not installed.
    """
    endpoint = next((name for name in _ENDPOINTS if environment.get(name)), None)
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if endpoint is None or exporter == "none" or disabled:
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _HTTP)
    if exporter != "otlp" or protocol != _HTTP:
        raise ConfigurationError(
            f"traces go out as otlp over {_HTTP} only, not as {exporter} over {protocol}"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ConfigurationError(
            f"{endpoint} asks for traces: install facewright[otel], or set "
            "OTEL_TRACES_EXPORTER=none"
        ) from None
    return Tracing(OTLPSpanExporter())


class Tracing:
    """Makes spans and hands them to `exporter`, in batches and in a thread of its own."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = Resource({"service.name": "facewright", "service.version": __version__})
        self._provider = TracerProvider(
            resource=about.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("facewright", __version__)

    def span(self, name: str, **options: Any) -> AbstractContextManager[Any]:
        """A span for the length of the `with` block, inside the current one.

        Exceptions pass without leaving their messages in it.
        """
        return self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False, **options
        )

    def close(self) -> None:
        """Send what waits; gives up after half a minute without an answer."""
        self._provider.shutdown()
