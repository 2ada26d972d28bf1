"""DetectorReader: what the SDK's limits and life cycles would lose, and it must not."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from debbie_otel import semconv
from debbie_otel.detection.control_metrics import (
    MAX_WINDOWS,
    ControlMetrics,
    DetectorReader,
    Point,
    Reading,
)
from debbie_otel.detection.settings import CONTROL
from tests.detection.judged import Judged

READING = Reading("silence", 1.0, "", 0, "silent")
OVERFLOW = "otel.metric.overflow"


def sessions(points: list[Point]) -> set[str]:
    return {str(point.attributes[semconv.SESSION_ID]) for point in points}


def provider(reader: DetectorReader) -> MeterProvider:
    return MeterProvider([reader], resource=Resource.get_empty(), shutdown_on_exit=False)


def test_five_thousand_sessions_at_once_are_all_seen_at_every_look() -> None:
    reader = DetectorReader()
    control = ControlMetrics(reader)
    for look in range(3):
        for number in range(5000):
            control.write(f"s{number}", [READING])
        points = reader.take(look)
        assert not any(OVERFLOW in point.attributes for point in points)
        assert sessions(points) == {f"s{number}" for number in range(5000)}
        assert {(point.metric, point.value, point.time_ns) for point in points} == {
            (f"{CONTROL}silence", 1.0, look)
        }
    control.shutdown()


def test_the_limit_of_the_sdk_itself_would_lose_them() -> None:
    # What the cardinality limits of the reader are for; should this fail, they may go.
    plain = InMemoryMetricReader()
    control = ControlMetrics(plain)
    for number in range(2500):
        control.write(f"s{number}", [READING])
    data = plain.get_metrics_data()
    assert data is not None
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert any(OVERFLOW in (point.attributes or {}) for point in points)
    control.shutdown()


def test_a_hundred_thousand_sessions_over_time_are_seen_and_leave_nothing_behind() -> None:
    reader = DetectorReader()
    control = ControlMetrics(reader)
    seen = 0

    def live(generation: int) -> int:
        for number in range(2000):
            control.write(f"s{generation}-{number}", [READING])
        points = reader.take(generation)
        assert not any(OVERFLOW in point.attributes for point in points)
        return len(sessions(points))

    for generation in range(47):
        seen += live(generation)
    gc.collect()
    tracemalloc.start()  # slow: only the end of the way is traced
    try:
        for generation in range(47, 50):
            seen += live(generation)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert seen == 100_000
    # A set that stays takes about a kilobyte: 6,000 of them would be megabytes.
    assert grown < 300_000
    control.shutdown()


def test_a_flush_by_someone_else_loses_no_window() -> None:
    reader = DetectorReader()
    user = provider(reader)
    counter = user.get_meter("app").create_counter("jobs")
    for _ in range(5):
        counter.add(1)
        user.force_flush()
    counter.add(1)
    points = reader.take(7)
    assert [point.value for point in points] == [1] * 6
    assert all(point.is_delta for point in points)
    assert reader.take(8) == []
    user.shutdown()


def test_windows_that_nobody_takes_are_bounded() -> None:
    reader = DetectorReader()
    user = provider(reader)
    counter = user.get_meter("app").create_counter("jobs")
    for _ in range(MAX_WINDOWS + 5):
        counter.add(1)
        user.force_flush()
    assert len(reader.take(0)) == MAX_WINDOWS
    assert reader.dropped == 5
    user.shutdown()


def test_one_reader_serves_one_provider_so_the_detector_gives_one_for_each() -> None:
    stage = Judged()
    with pytest.raises(Exception, match="already"):
        provider(stage.detector.reader)
    readers = [stage.detector.metric_reader() for _ in range(2)]
    users = [provider(reader) for reader in readers]
    assert len({id(reader) for reader in (stage.detector.reader, *readers)}) == 3
    for user in users:
        user.shutdown()
    stage.detector.shutdown()


def test_a_reader_that_is_not_attached_yet_gives_nothing() -> None:
    assert DetectorReader().take(0) == []


def test_levels_stay_levels_and_histograms_keep_their_buckets() -> None:
    reader = DetectorReader()
    user = provider(reader)
    meter = user.get_meter("app")
    meter.create_up_down_counter("open").add(3)
    meter.create_histogram("took", explicit_bucket_boundaries_advisory=[1, 2]).record(1.5)
    points = {point.metric: point for point in reader.take(0)}
    assert (points["open"].value, points["open"].is_delta) == (3, False)
    assert points["took"].buckets == ((1, 2), (0, 1, 0))
    assert (points["took"].value, points["took"].count) == (1.5, 1)
    meter.create_up_down_counter("open").add(1)
    assert [point.value for point in reader.take(1) if point.metric == "open"] == [4]
    user.shutdown()


def test_idle_sessions_are_checked_though_an_idle_reader_is_never_called() -> None:
    stage = Judged()
    stage.watch('>> {"id":1,"method":"startSession","params":{"userId":"u"}}')
    stage.watch('<< {"id":1,"result":{"sessionId":"s1","status":1}}\n+600')
    reader = stage.detector.reader
    assert reader.take(0) == []
    assert not reader._windows
    stage.watch('>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"x"}}')
    assert stage.watch("+40") == ["630s session_stall"]
    stage.detector.shutdown()
