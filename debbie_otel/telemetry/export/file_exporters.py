"""Exporters of spans and metrics to files of OTLP/JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from debbie_otel.telemetry.export.exporters import DirectSpanExporter, ExportProblem
from debbie_otel.telemetry.export.lines_file import LinesFile
from debbie_otel.telemetry.export.otlp_json import metric_lines, span_lines
from debbie_otel.telemetry.spans import FinishedSpan


class FileSpanExporter(DirectSpanExporter, SpanExporter):
    """Appends spans to `DIR/traces.jsonl`, a line per batch; never raises."""

    problem: ExportProblem | None = None

    def __init__(self, directory: Path, max_bytes: int = 64 << 20, files: int = 4) -> None:
        self.file = LinesFile(directory, "traces", max_bytes, files)

    def export(self, spans: Sequence[FinishedSpan]) -> SpanExportResult:
        """Write one batch."""
        if self.file.append(span_lines(spans)):
            self.problem = None
            return SpanExportResult.SUCCESS
        self.problem = ExportProblem(self.file.problem)
        return SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Return True: nothing is buffered."""
        return True


class FileMetricExporter(MetricExporter):
    """Appends metrics to `DIR/metrics.jsonl`, a line per export; never raises."""

    def __init__(self, directory: Path, max_bytes: int = 64 << 20, files: int = 4) -> None:
        super().__init__()
        self.file = LinesFile(directory, "metrics", max_bytes, files)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> MetricExportResult:
        """Write one collection."""
        written = self.file.append(metric_lines(metrics_data))
        return MetricExportResult.SUCCESS if written else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Return True: nothing is buffered."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing: no file stays open."""
