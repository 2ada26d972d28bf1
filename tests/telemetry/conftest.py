"""What several tests of exporters send."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context


@pytest.fixture
def metrics() -> MetricsData:
    """A counter with an exemplar, and a histogram."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], resource=Resource({"service.name": "x"}), shutdown_on_exit=False
    )
    meter = provider.get_meter("debbie_otel")
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    traced = set_span_in_context(NonRecordingSpan(context))
    meter.create_counter("calls").add(3, {"method": "a"}, context=traced)
    meter.create_histogram("duration").record(0.5, {"method": "a"})
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data
