"""A program that has set up OpenTelemetry for itself."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from debbie_otel.telemetry.host_providers import Providers


class Stamp(SpanProcessor):
    """A processor that acts at the start of a span."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute("stamped", True)


class Program:
    """A program with providers of its own."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        resource = Resource({"service.name": "the-program"})
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler, resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(Stamp())
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], resource, shutdown_on_exit=False)
        self.providers = Providers(self.tracers, self.meters)

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
