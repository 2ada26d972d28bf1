"""The export of metrics: histograms beside the SDK's instruments, and what did not arrive."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource

from debbie_otel import semconv
from debbie_otel.compat.sdk_private import aggregations, temporalities
from debbie_otel.session.model import Clock
from debbie_otel.telemetry.aggregate import Histograms

_logger = logging.getLogger(__name__)


class MetricDelivery(MetricExporter):
    """Exports what the SDK's instruments yield together with `Histograms`.

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


class ServiceMetrics:
    """The metrics of one service; nothing reads them before `attach`.

    Args:
        resource: Of the service.

    Attributes:
        provider: Makes its meters.
        readers: Read and export.

    """

    def __init__(self, resource: Resource) -> None:
        self.provider = MeterProvider(resource=resource, shutdown_on_exit=False)
        self.readers: list[MetricReader] = []
        self._deliveries: list[MetricDelivery] = []
        self._histograms: list[Histograms] = []

    def add_histograms(self, histograms: Iterable[Histograms]) -> None:
        """Have histograms exported with the rest."""
        added = list(histograms)
        self._histograms += added
        for delivery in self._deliveries:
            delivery.add_histograms(added)

    def attach(
        self, exporters: Iterable[MetricExporter | MetricReader], clock: Clock, *, exemplars: bool
    ) -> None:
        """Export from now on; readers of other kinds get no histograms of Debbie's."""
        for exporter in exporters:
            reader = exporter
            if isinstance(reader, MetricExporter):
                delivery = MetricDelivery(reader, clock, exemplars=exemplars)
                delivery.add_histograms(self._histograms)
                self._deliveries.append(delivery)
                reader = PeriodicExportingMetricReader(delivery)
            self.provider.add_metric_reader(reader)
            self.readers.append(reader)

    def undelivered(self) -> list[MetricsData]:
        """Return what the last exports did not deliver."""
        left = (delivery.undelivered for delivery in self._deliveries)
        return [data for data in left if data is not None]


def _with(resource: ResourceMetrics, metrics: list[Metric]) -> ResourceMetrics:
    """Add metrics to our scope of a resource."""
    scopes = [
        ScopeMetrics(scope.scope, [*scope.metrics, *metrics], scope.schema_url)
        if scope.scope.name == semconv.SCOPE
        else scope
        for scope in resource.scope_metrics
    ]
    return ResourceMetrics(resource.resource, scopes, resource.schema_url)
