"""Control metrics: readings of live sessions as OpenTelemetry gauges that are never exported.

They are written once a look, with delta temporality, so that what a MeterProvider holds follows
what is alive: the SDK frees the attribute sets of synchronous instruments when they are collected.
The public metrics keep to bounded attributes; here every session has its own.

One MetricReader reads the control provider, another one each MeterProvider of the user's that
rules watch: the SDK refuses a reader that serves two providers. It belongs into the provider's
constructor, as a reader that is added later takes no part in `force_flush` and `shutdown`. Every
collection is a window; windows queue up, so that a `force_flush` by someone else, which collects
too, loses none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MetricsTimeoutError,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricReader,
    MetricsData,
    NumberDataPoint,
)

from debbie_otel import semconv
from debbie_otel.compat.sdk_private import CollectingReader, Gauge, internal_meter_provider
from debbie_otel.detection.settings import CONTROL, CONTROL_METRICS

SUBJECT = "debbie.control.subject"
SINCE = "debbie.control.since"
TEXT = "debbie.control.text"
LIMIT = "debbie.control.limit"

DELTA = AggregationTemporality.DELTA
CUMULATIVE = AggregationTemporality.CUMULATIVE
MAX_WINDOWS = 1024


class Point(msgspec.Struct, frozen=True):
    """One data point.

    Attributes:
        metric: Name of the metric.
        attributes: Of the point.
        value: Number, or sum of a histogram.
        count: Measurements in a histogram; 1 for a number.
        buckets: Bounds and counts of a histogram; None for a number.
        time_ns: When it was taken, by the detector's clock.
        is_delta: Whether `value` is new since the last window, or a level.

    """

    metric: str
    attributes: dict[str, Any]
    value: float
    time_ns: int
    count: int = 1
    buckets: tuple[tuple[float, ...], tuple[int, ...]] | None = None
    is_delta: bool = False


class Reading(msgspec.Struct, frozen=True):
    """One value of a session at one moment.

    Attributes:
        metric: Short name, see `control`.
        value: Its value.
        subject: What it is about: a method, a tool.
        since_ns: When the condition behind it began.
        text: One clause for people.
        limit: What the value is compared with, where that differs from case to case.

    """

    metric: str
    value: float
    subject: str
    since_ns: int
    text: str
    limit: float | None = None


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


class DetectorReader(CollectingReader):
    """Collects windows of metrics and keeps them until they are taken.

    Args:
        cardinality: Attribute sets an instrument; above the number of live sessions.

    Attributes:
        dropped: Windows that were thrown away because nobody took them.

    """

    def __init__(self, cardinality: int = 100_000) -> None:
        synchronous = (Counter, UpDownCounter, Histogram, Gauge)
        observable = (ObservableCounter, ObservableUpDownCounter, ObservableGauge)
        super().__init__(
            preferred_temporality={
                **dict.fromkeys(synchronous, DELTA),
                **dict.fromkeys(observable, DELTA),
                UpDownCounter: CUMULATIVE,
                ObservableUpDownCounter: CUMULATIVE,
            },
            cardinality_limits=dict.fromkeys((*synchronous, *observable), cardinality),
        )
        self._windows: deque[MetricsData] = deque(maxlen=MAX_WINDOWS)
        self.dropped = 0

    def take(self, now_ns: int) -> list[Point]:
        """Collect what is there now, and return the points of all windows not taken so far.

        Args:
            now_ns: Time of the points. Not the SDK's own, which is always today's: a recording is
                judged by its own time.

        """
        if not self.is_attached:
            return []
        with suppress(MetricsTimeoutError):  # a callback of the user's that is too slow
            self.collect()
        points: list[Point] = []
        while self._windows:
            points += _points(self._windows.popleft(), now_ns)
        return points

    def received(self, data: MetricsData) -> None:
        """Keep a window until it is taken."""
        if len(self._windows) == MAX_WINDOWS:
            self.dropped += 1
        self._windows.append(data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing is open."""


def _points(window: MetricsData, now_ns: int) -> Iterator[Point]:
    for resource in window.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for data_point in metric.data.data_points:
                    point = _point(metric.name, metric.data, data_point, now_ns)
                    if point is not None:
                        yield point


def _point(name: str, data: Any, point: Any, now_ns: int) -> Point | None:
    delta = getattr(data, "aggregation_temporality", None) is DELTA
    attributes = dict(point.attributes or {})
    match point:
        case NumberDataPoint():
            return Point(name, attributes, point.value, now_ns, 1, None, delta)
        case HistogramDataPoint():
            buckets = (tuple(point.explicit_bounds), tuple(point.bucket_counts))
            return Point(name, attributes, point.sum, now_ns, point.count, buckets, delta)
    return None
