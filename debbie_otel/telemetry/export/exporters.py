"""What our exporters have in common, wherever they export to."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

_logger = logging.getLogger(__name__)


class ExportProblem(msgspec.Struct, frozen=True):
    """Why the last export failed.

    Attributes:
        text: For a log line.
        permanent: The receiver understood and refused: the same batch will be refused again.
        retry_after: Seconds that the receiver asks to wait; 0 where it does not say.

    """

    text: str
    permanent: bool = False
    retry_after: float = 0.0


class DirectSpanExporter:
    """Mix-in of the exporters that take spans of ours as they are."""


class LastMetrics:
    """Mix-in of metric exporters: remembers what has not arrived, and logs a failure once.

    Metrics are cumulative by default, so that what one export missed is in the next one; only
    what the last export before the end could not deliver is lost. `undelivered` is that.
    """

    undelivered: MetricsData | None = None
    _failing = False

    def _remembering(
        self, data: MetricsData, export: Callable[[], MetricExportResult]
    ) -> MetricExportResult:
        self.undelivered = data
        try:
            result = export()
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
