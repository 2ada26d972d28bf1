"""What the telemetry of the sessions needs of whatever takes it out of the process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from opentelemetry.metrics import Meter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status

from debbie_otel.telemetry.aggregate import Histograms
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.spans import UNSET, OpenSpan


class SpanSink(Protocol):
    """Starts and ends spans; `SpanWriter` tells of the arguments."""

    def start(
        self,
        name: str,
        kind: SpanKind,
        start_ns: int,
        parent: SpanContext | None,
        shared: SharedAttributes,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> OpenSpan:
        """Start a span."""

    def end(self, span: OpenSpan, end_ns: int, status: Status = UNSET) -> None:
        """End a span."""


class Outlet(Protocol):
    """Takes the telemetry of services; `Pipeline` tells of the arguments."""

    def writer(self, service_name: str) -> SpanSink:
        """Return where the spans of a service go."""

    def meter(self, service_name: str) -> Meter:
        """Return the meter of a service."""

    def add_histograms(self, service_name: str, histograms: Iterable[Histograms]) -> None:
        """Export histograms of our own with the metrics of a service."""

    def emit_event(self, service_name: str, event: LogEvent) -> None:
        """Emit a log event."""
