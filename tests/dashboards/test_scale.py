"""The measurement of scale: a small run of each part, with the real programs."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import scale
from tests.stack import cache


@pytest.fixture(scope="module")
def recorded() -> list[ExportTraceServiceRequest]:
    return scale.record_sessions()


def spans(requests: list[ExportTraceServiceRequest]) -> list[bytes]:
    return [
        span.trace_id + span.span_id
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_sessions_are_multiplied_with_new_ids(recorded: list[ExportTraceServiceRequest]) -> None:
    once = spans(recorded)
    bodies = scale.multiply(recorded, 2 * len(once))
    made = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    assert len(spans(made)) == 2 * len(once)
    assert len({*spans(made), *once}) == 3 * len(once)
    traces = {span[:16] for span in once}
    assert len({span[:16] for span in spans(made)}) == 2 * len(traces)
    assert all(len(spans([request])) <= 512 for request in made)
    assert {r.resource_spans[0].resource.attributes[0].key for r in made}


@pytest.mark.stack("collector")
def test_what_a_gateway_takes(recorded: list[ExportTraceServiceRequest]) -> None:
    program = cache.program("debbie-collector")
    assert program is not None
    bodies = scale.multiply(recorded, 1000)
    count = len(spans([ExportTraceServiceRequest.FromString(body) for body in bodies]))
    rate = scale.measure_gateway(program, bodies, count)
    assert rate.spans > 100
    assert 1 < rate.cpu < 100_000
    assert rate.resident > 10_000_000


def test_what_a_proxy_emits() -> None:
    rate = scale.measure_proxy("http", 0.3)
    assert rate.trips > 100
    assert rate.spans >= rate.trips  # a span for each call at least
    assert 1 < rate.span_bytes < 2000
