"""Metrics: histograms of our own beside the SDK's, and what did not arrive."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as over_grpc
from opentelemetry.exporter.otlp.proto.http import metric_exporter as over_http
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from debbie_otel import semconv
from debbie_otel.telemetry.aggregate import Histograms, Key, Sums
from debbie_otel.telemetry.export.metric_delivery import MetricDelivery
from tests.telemetry.collector import grpc_collector, http_collector

CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA


def attributes(key: Key) -> dict[str, str]:
    return {"k": str(key[0])}


class KeepingExporter(MetricExporter):
    def __init__(self, temporality: AggregationTemporality) -> None:
        super().__init__(preferred_temporality={SdkHistogram: temporality})
        self.kept: list[MetricsData] = []
        self.ended = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object
    ) -> MetricExportResult:
        self.kept.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        self.ended = True


def test_sums_and_histograms_are_exported_together() -> None:
    exporter = KeepingExporter(CUMULATIVE)
    delivery = MetricDelivery(exporter, iter((100, 900)).__next__)
    reader = PeriodicExportingMetricReader(delivery, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter(semconv.SCOPE)
    sums = Sums(attributes)
    meter.create_observable_counter("c", [sums])
    histograms = Histograms("h", "s", "d", attributes)
    delivery.add_histograms([histograms, Histograms("empty", "s", "", attributes)])
    sums.add(("a",))
    sums.add(("a",), 4)
    histograms.record(("b",), 0.5)
    provider.force_flush()
    (scope,) = exporter.kept[-1].resource_metrics[0].scope_metrics
    found = {metric.name: metric for metric in scope.metrics}
    assert found.keys() == {"c", "h"}
    assert [(p.value, dict(p.attributes or {})) for p in found["c"].data.data_points] == [  # type: ignore[union-attr]
        (5, {"k": "a"})
    ]
    (point,) = found["h"].data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (100, 900)  # by the one clock
    provider.shutdown()
    assert exporter.ended


def test_delta_begins_where_the_last_export_ended(metrics: MetricsData) -> None:
    exporter = KeepingExporter(DELTA)
    delivery = MetricDelivery(exporter, iter((100, 200, 300)).__next__)
    histograms = Histograms("h", "s", "d", attributes)
    delivery.add_histograms([histograms])
    for _ in range(2):
        histograms.record(("b",), 0.5)
        delivery.export(metrics)
    found = [
        (point.start_time_unix_nano, point.time_unix_nano, point.count)
        for data in exporter.kept
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "h"
        for point in metric.data.data_points
        if isinstance(point, HistogramDataPoint)
    ]
    assert found == [(100, 200, 1), (200, 300, 1)]


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_metrics_are_remembered_until_they_arrive(
    kind: str, metrics: MetricsData, caplog: pytest.LogCaptureFixture
) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        base = f"http://127.0.0.1:{collector.port}"
        exporter: MetricExporter = (
            over_grpc.OTLPMetricExporter(endpoint=base)
            if kind == "grpc"
            else over_http.OTLPMetricExporter(endpoint=f"{base}/v1/metrics")
        )
        delivery = MetricDelivery(exporter, lambda: 1)
        collector.refuse_with = grpc.StatusCode.INVALID_ARGUMENT if kind == "grpc" else 400
        for _ in range(2):
            assert delivery.export(metrics) is MetricExportResult.FAILURE
        assert delivery.undelivered == metrics
        collector.refuse_with = None
        assert delivery.export(metrics) is MetricExportResult.SUCCESS
        assert delivery.undelivered is None
        delivery.shutdown()
        assert collector.received.metrics == [encode_metrics(metrics)]
    assert caplog.text.count("metrics cannot be delivered") == 1


def test_an_exporter_that_raises_is_a_failure(metrics: MetricsData) -> None:
    class Raises(KeepingExporter):
        def export(self, *arguments: object, **named: object) -> MetricExportResult:
            raise RuntimeError("no")

    delivery = MetricDelivery(Raises(CUMULATIVE), lambda: 1)
    assert delivery.export(metrics) is MetricExportResult.FAILURE
    assert delivery.undelivered == metrics
