"""An exporter of metrics around another: adds our histograms, and keeps what did not arrive."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)

from debbie_otel import semconv
from debbie_otel.sdk_private import aggregations, temporalities
from debbie_otel.session.model import Clock
from debbie_otel.telemetry.aggregate import Histograms

_logger = logging.getLogger(__name__)


class MetricDelivery(MetricExporter):
    """Exports what the SDK's instruments yield together with histograms of our own.

    Metrics are cumulative by default, so that what one export missed is in the next one; only
    what the last export before the end could not deliver is lost. A failure is logged once.

    Args:
        exporter: Delivers.
        clock: Tells when histograms are collected.
        exemplars: Whether our histograms carry them.

    Attributes:
        undelivered: What the last export did not deliver, or is at; None if it did.

    """

    def __init__(self, exporter: MetricExporter, clock: Clock, *, exemplars: bool = True) -> None:
        preferred = temporalities(exporter)
        super().__init__(preferred, aggregations(exporter))
        self.undelivered: MetricsData | None = None
        self._exporter = exporter
        self._clock = clock
        self._exemplars = exemplars
        self._histograms: list[Histograms] = []
        cumulative = AggregationTemporality.CUMULATIVE
        self._temporality = (preferred or {}).get(Histogram, cumulative)
        self._started_ns = self._collected_ns = clock()
        self._failing = False

    def add_histograms(self, histograms: Iterable[Histograms]) -> None:
        """Have them exported from now on."""
        self._histograms.extend(histograms)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export one collection; never raises."""
        self.undelivered = merged = self._merged(metrics_data)
        try:
            result = self._exporter.export(merged, timeout_millis, **kwargs)
        except Exception as error:  # noqa: BLE001 - an exporter's fault must not end its thread
            _logger.debug("metric export: %r", error)
            result = MetricExportResult.FAILURE
        if result is MetricExportResult.SUCCESS:
            self.undelivered = None
            self._failing = False
        elif not self._failing:
            self._failing = True
            _logger.warning("metrics cannot be delivered; the next export repeats them")
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Have the exporter send what it buffers."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """End the exporter."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def _merged(self, metrics_data: MetricsData) -> MetricsData:
        now = self._clock()
        delta = self._temporality is AggregationTemporality.DELTA
        start = self._collected_ns if delta else self._started_ns
        self._collected_ns = now
        collected = (
            histogram.collect(start, now, self._temporality, exemplars=self._exemplars)
            for histogram in self._histograms
        )
        filled = [metric for metric in collected if metric.data.data_points]
        return MetricsData([_with(resource, filled) for resource in metrics_data.resource_metrics])


def _with(resource: ResourceMetrics, metrics: list[Metric]) -> ResourceMetrics:
    """Add metrics to our scope of a resource."""
    scopes = [
        ScopeMetrics(scope.scope, [*scope.metrics, *metrics], scope.schema_url)
        if scope.scope.name == semconv.SCOPE
        else scope
        for scope in resource.scope_metrics
    ]
    return ResourceMetrics(resource.resource, scopes, resource.schema_url)
