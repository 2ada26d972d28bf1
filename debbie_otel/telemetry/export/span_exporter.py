"""What our exporters of spans have in common, wherever they export to."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from opentelemetry.sdk.trace.export import SpanExportResult

from debbie_otel.telemetry.spans import OpenSpan


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
    """An exporter that takes an `OpenSpan` as it is, and says why an export failed.

    Attributes:
        problem: Of the last export; None if it succeeded.

    """

    problem: ExportProblem | None = None

    def export(self, spans: Sequence[OpenSpan]) -> SpanExportResult:
        """Export one batch."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """End."""
