"""Control metrics: readings of live sessions, as OpenTelemetry gauges that are never exported.

They are written once a look, with delta temporality, so that what a MeterProvider holds follows
what is alive: the SDK frees the attribute sets of synchronous instruments when they are collected.
The public metrics keep to bounded attributes; here every session has its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.metrics.export import MetricReader

from debbie_otel import semconv
from debbie_otel.compat.sdk_private import internal_meter_provider
from debbie_otel.detection.readings import Reading
from debbie_otel.detection.settings import CONTROL, CONTROL_METRICS

SUBJECT = "debbie.control.subject"
SINCE = "debbie.control.since"
TEXT = "debbie.control.text"
LIMIT = "debbie.control.limit"


class ControlMetrics:
    """The control MeterProvider and its gauges.

    Args:
        reader: Reads them; passed in the constructor, as the SDK wants it.

    """

    def __init__(self, reader: MetricReader) -> None:
        self._provider = internal_meter_provider(reader)
        meter = self._provider.get_meter(semconv.SCOPE)
        self._gauges = {
            name: meter.create_gauge(CONTROL + name, unit, description)
            for name, (unit, description) in CONTROL_METRICS.items()
        }

    def write(self, session_id: str, readings: Iterable[Reading]) -> None:
        """Write the readings of one session."""
        for reading in readings:
            attributes: dict[str, str | float] = {
                semconv.SESSION_ID: session_id,
                SUBJECT: reading.subject,
                SINCE: reading.since_ns,
                TEXT: reading.text,
            }
            if reading.limit is not None:
                attributes[LIMIT] = reading.limit
            self._gauges[reading.metric].set(reading.value, attributes)

    def shutdown(self) -> None:
        """End the provider."""
        self._provider.shutdown()
