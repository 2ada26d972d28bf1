from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
)

from debbie_otel.telemetry.aggregate import Histograms, Key

CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA


def attributes(key: Key) -> dict[str, str]:
    return {"k": str(key[0])}


def points(histograms: Histograms, temporality: AggregationTemporality) -> list[HistogramDataPoint]:
    return list(histograms.collect(1, 2, temporality).data.data_points)  # type: ignore[arg-type]


def test_a_histogram_agrees_with_the_sdks() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    bounds = (0.1, 1.0, 10.0)
    theirs = provider.get_meter("m").create_histogram(
        "h", explicit_bucket_boundaries_advisory=bounds
    )
    ours = Histograms("h", "s", "", attributes, bounds)
    for value in (0.0, 0.1, 0.10001, 0.9, 1.0, 5.0, 10.0, 11.0, 400.0):
        theirs.record(value, {"k": "a"})
        ours.record(("a",), value)
    data = reader.get_metrics_data()
    assert data is not None
    (their_point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert isinstance(their_point, HistogramDataPoint)
    (our_point,) = points(ours, CUMULATIVE)
    for field in ("count", "sum", "bucket_counts", "explicit_bounds", "min", "max"):
        assert list_or_value(our_point, field) == list_or_value(their_point, field), field
    provider.shutdown()


def list_or_value(point: HistogramDataPoint, field: str) -> object:
    value = getattr(point, field)
    return list(value) if isinstance(value, tuple | list) else value


def test_delta_tells_only_what_is_new() -> None:
    histograms = Histograms("h", "s", "", attributes)
    histograms.record(("a",), 3.0)
    assert [(p.count, p.sum, p.min, p.max) for p in points(histograms, DELTA)] == [(1, 3, 3, 3)]
    assert points(histograms, DELTA) == []
    histograms.record(("a",), 2.0)
    assert [(p.count, p.sum, p.min, p.max) for p in points(histograms, DELTA)] == [(1, 2, 2, 2)]


def test_sampled_traces_become_exemplars_once() -> None:
    histograms = Histograms("h", "s", "", attributes)
    histograms.record(("a",), 3.0, 11, 22, 33)
    histograms.record(("a",), 3.0)
    (point,) = points(histograms, CUMULATIVE)
    assert [(e.value, e.trace_id, e.span_id, e.time_unix_nano) for e in point.exemplars] == [
        (3.0, 11, 22, 33)
    ]
    assert points(histograms, CUMULATIVE)[0].exemplars == []
