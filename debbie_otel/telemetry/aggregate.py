"""Counters and histograms that cost a dictionary access, read by any MetricReader.

`Counter.add` of the SDK takes about 6 µs, which for five measurements a call would be the largest
cost on the wire. Here a measurement is one addition to a plain object; what is summed up becomes
metrics when a reader collects: counters through the SDK's observable instruments, histograms
(which have no observable form) as data points that `MetricDelivery` adds to what it exports.
Sums of attribute sets are bounded where the attributes are made, see `names`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import AggregationTemporality, HistogramDataPoint, Metric
from opentelemetry.sdk.metrics.export import Histogram as HistogramData

from debbie_otel import semconv

Key = tuple[Any, ...]
KeyToAttributes = Callable[[Key], Mapping[str, Any]]
Measured = Callable[[float, Mapping[str, Any], int, int], None]
"""Takes a measurement, its attributes, and trace and span id (zeros without a sampled span)."""


def named(*names: str) -> KeyToAttributes:
    """Return what makes attributes of these names from a key, without those that are None."""
    return lambda key: {
        name: value for name, value in zip(names, key, strict=True) if value is not None
    }


class Sums:
    """A counter per key, as the callback of an observable counter.

    Args:
        attributes: From key to attributes.

    """

    def __init__(self, attributes: KeyToAttributes) -> None:
        self.values: dict[Key, int] = {}
        self._attributes = attributes

    def add(self, key: Key, amount: int = 1) -> None:
        """Count."""
        try:
            self.values[key] += amount
        except KeyError:
            self.values[key] = amount

    def __call__(self, _: CallbackOptions) -> Iterable[Observation]:
        """Return what an observable instrument asks for."""
        return [
            Observation(value, dict(self._attributes(key)))
            for key, value in list(self.values.items())
        ]


class Series:
    """The histogram of one set of attributes."""

    __slots__ = ("_bounds", "buckets", "exemplars", "maximum", "minimum", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        size = len(bounds) + 1
        self._bounds = bounds
        self.buckets = [0] * size
        self.total = 0.0
        self.minimum = float("inf")
        self.maximum = 0.0
        self.exemplars: list[tuple[float, int, int, int] | None] = [None] * size

    def add(self, value: float, trace_id: int = 0, span_id: int = 0, time_ns: int = 0) -> None:
        """Add a measurement; a sampled trace becomes the exemplar of its bucket."""
        index = bisect_left(self._bounds, value)
        self.buckets[index] += 1
        self.total += value
        if value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value
        if trace_id:
            self.exemplars[index] = (value, time_ns, trace_id, span_id)


class PassedSeries:
    """As `Series`, where another library's histogram takes the measurements."""

    __slots__ = ("_attributes", "_measured")

    def __init__(self, measured: Measured, attributes: Mapping[str, Any]) -> None:
        self._measured = measured
        self._attributes = attributes

    def add(self, value: float, trace_id: int = 0, span_id: int = 0, _time_ns: int = 0) -> None:
        """Pass a measurement on."""
        self._measured(value, self._attributes, trace_id, span_id)


class Histograms:
    """An explicit-bucket histogram per key.

    Args:
        name, unit, description: Of the metric.
        bounds: Upper bounds of the buckets, inclusive.
        attributes: From key to attributes.

    """

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        attributes: KeyToAttributes,
        bounds: tuple[float, ...] = semconv.DURATION_BUCKETS,
    ) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self.bounds = bounds
        self._attributes = attributes
        self._passed_to: Measured | None = None
        self._series: dict[Key, Series] = {}
        self._reported: dict[Key, tuple[list[int], float]] = {}

    def record(
        self, key: Key, value: float, trace_id: int = 0, span_id: int = 0, time_ns: int = 0
    ) -> None:
        """Add a measurement, see `Series.add`."""
        self.series(key).add(value, trace_id, span_id, time_ns)

    def series(self, key: Key) -> Series | PassedSeries:
        """Return what takes the measurements of a key; it may be kept."""
        if self._passed_to is not None:
            return PassedSeries(self._passed_to, self._attributes(key))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(self.bounds)
        return series

    def pass_on(self, measured: Measured) -> None:
        """Have another histogram take the measurements from now on."""
        self._passed_to = measured

    def collect(
        self,
        start_ns: int,
        now_ns: int,
        temporality: AggregationTemporality,
        *,
        exemplars: bool = True,
    ) -> Metric:
        """Return everything so far, or since the last collection where that is asked for."""
        delta = temporality is AggregationTemporality.DELTA
        points = []
        for key, series in list(self._series.items()):
            buckets, total = list(series.buckets), series.total
            examples, series.exemplars = series.exemplars, [None] * len(buckets)
            minimum, maximum = series.minimum, series.maximum
            if delta:
                series.minimum, series.maximum = float("inf"), 0.0
                before, sum_before = self._reported.get(key, ([0] * len(buckets), 0.0))
                self._reported[key] = (buckets, total)
                buckets = [now - then for now, then in zip(buckets, before, strict=True)]
                total -= sum_before
                if not any(buckets):
                    continue
            points.append(
                HistogramDataPoint(
                    attributes=self._attributes(key),
                    start_time_unix_nano=start_ns,
                    time_unix_nano=now_ns,
                    count=sum(buckets),
                    sum=total,
                    bucket_counts=buckets,
                    explicit_bounds=self.bounds,
                    min=minimum,
                    max=maximum,
                    exemplars=[
                        Exemplar({}, value, when, span_id, trace_id)
                        for value, when, trace_id, span_id in filter(
                            None, examples if exemplars else ()
                        )
                    ],
                )
            )
        data = HistogramData(data_points=points, aggregation_temporality=temporality)
        return Metric(self.name, self.description, self.unit, data)
