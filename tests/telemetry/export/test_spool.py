"""Delivery: collectors that are down, hung, or refuse; bounds and deadlines."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.export.files import FileSpanExporter
from debbie_otel.telemetry.export.otlp_exporters import GrpcSpanExporter, HttpSpanExporter
from debbie_otel.telemetry.export.span_exporter import DirectSpanExporter
from debbie_otel.telemetry.export.spool import SpanSpool, SpoolOptions
from debbie_otel.telemetry.spans import OpenSpan, SpanWriter
from tests.telemetry.collector import (
    GrpcCollector,
    HttpCollector,
    free_port,
    grpc_collector,
    http_collector,
)
from tests.telemetry.export.made_spans import RESOURCE, make_span, names, spooled_names

FAST = SpoolOptions(delay=0.05, first_retry=0.05, last_retry=0.2)


def spooling(
    exporter: SpanExporter | DirectSpanExporter,
    directory: Path,
    options: SpoolOptions = FAST,
    name: str = "the collector",
) -> SpanSpool:
    spool = SpanSpool(directory, options)
    spool.start(exporter, name)
    return spool


class Gate(SpanExporter):
    """Keeps every export waiting until it is opened; then succeeds."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.batches: list[list[str]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        assert self.open.wait(20)
        self.batches.append([span.name for span in spans])
        return SpanExportResult.SUCCESS


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "debbie-spans":
            thread.join(12)
            assert not thread.is_alive()


def test_batches_by_size_and_by_time(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    spool = spooling(gate, tmp_path, SpoolOptions(batch=10, delay=0.2))
    for number in range(25):
        spool.on_end(make_span(number))
    assert spool.force_flush(5000)
    assert [name for batch in gate.batches for name in batch] == names(25)
    assert max(len(batch) for batch in gate.batches) == 10
    spool.shutdown()
    assert spool.counters.exported == 25
    assert spooled_names(tmp_path) == []


def test_an_exporter_of_the_sdk_gets_spans_of_the_sdk(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    spool = spooling(exporter, tmp_path, FAST)
    writer = SpanWriter(
        spool.on_end, RESOURCE, InstrumentationScope("ours"), ALWAYS_ON, RandomIdGenerator()
    )
    layer = SharedAttributes({"session.id": "s"})
    writer.end(writer.start(OpenSpan("ours", SpanKind.SERVER, 1, None, layer, {"n": 1})), 2)
    assert spool.force_flush(5000)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind, span.start_time, span.end_time) == ("ours", SpanKind.SERVER, 1, 2)
    assert dict(span.attributes or {}) == {"session.id": "s", "n": 1}
    spool.shutdown()


def test_on_end_does_not_wait_and_the_oldest_go_when_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    spool = spooling(gate, tmp_path, SpoolOptions(queue=50, batch=10, delay=0.01))
    for number in range(10):
        spool.on_end(make_span(number))
    assert gate.entered.wait(5)  # these ten are under way, out of the queue
    assert spool.queued == 0
    for number in range(10, 160):
        spool.on_end(make_span(number))
    assert spool.queued == 50
    assert spool.counters.dropped == 100
    assert caplog.text.count("the oldest are dropped") == 1
    gate.open.set()
    spool.shutdown()
    delivered = [name for batch in gate.batches for name in batch]
    assert delivered == names(10) + names(160, 110)


def test_spans_after_the_end_are_counted(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    spool = spooling(gate, tmp_path, FAST)
    spool.shutdown()
    spool.on_end(make_span(0))
    assert spool.counters.dropped == 1
    spool.shutdown()  # a second time is harmless


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_collector_down_then_up_loses_nothing(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "debbie_otel")
    port = free_port()
    exporter: DirectSpanExporter = (
        GrpcSpanExporter(f"http://127.0.0.1:{port}")
        if kind == "grpc"
        else HttpSpanExporter(f"http://127.0.0.1:{port}/v1/traces")
    )
    spool = spooling(exporter, tmp_path, FAST, "the test's collector")
    for number in range(1200):
        spool.on_end(make_span(number))
    assert not spool.force_flush(500)
    make = grpc_collector if kind == "grpc" else http_collector
    with make(port) as collector:
        for number in range(1200, 1500):
            spool.on_end(make_span(number))
        assert spool.force_flush(15000)
        assert collector.received.span_names == names(1500)
        spool.shutdown()
    assert spool.counters.exported == 1500
    assert (spool.counters.dropped, spool.counters.spooled) == (0, 0)
    assert spooled_names(tmp_path) == []
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("debbie_otel")]
    if kind == "grpc":  # the client of HTTP had not given up yet
        assert len(ours) == 2
        assert "does not take spans (UNAVAILABLE" in ours[0]
        assert "takes spans again" in ours[1]


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_hung_collector_the_rest_is_in_the_file_in_time(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        collector.hang.set()
        base = f"http://127.0.0.1:{collector.port}"
        exporter: DirectSpanExporter = (
            GrpcSpanExporter(base) if kind == "grpc" else HttpSpanExporter(f"{base}/v1/traces")
        )
        spool = spooling(exporter, tmp_path, FAST)
        for number in range(1300):
            spool.on_end(make_span(number))
        collector.received.wait(lambda: bool(collector.received.headers))
        started = time.monotonic()
        spool.shutdown(1.5)
        assert time.monotonic() - started < 1.5 + 0.5
        assert spooled_names(tmp_path) == names(1300)
        assert spool.counters.spooled == 1300
        assert "1300 spans not delivered before the end are in" in caplog.text


def test_collector_that_is_down_gets_a_short_last_chance(tmp_path: Path) -> None:
    exporter = GrpcSpanExporter(f"http://127.0.0.1:{free_port()}")
    spool = spooling(exporter, tmp_path, FAST)
    for number in range(1300):
        spool.on_end(make_span(number))
    assert not spool.force_flush(600)
    started = time.monotonic()
    spool.shutdown(5)
    assert time.monotonic() - started < 2
    assert spooled_names(tmp_path) == names(1300)
    assert spool.counters.spooled == 1300


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
    ],
)
def test_grpc_refusal_goes_to_the_file_and_the_rest_goes_on(
    code: grpc.StatusCode, tmp_path: Path
) -> None:
    with grpc_collector() as collector:
        collector.refuse_with = code
        spool = spooling(GrpcSpanExporter(f"http://127.0.0.1:{collector.port}"), tmp_path, FAST)
        _refused_then_taken(spool, collector, tmp_path)


@pytest.mark.parametrize("status", [400, 401, 413, 500])
def test_http_refusal_goes_to_the_file_and_the_rest_goes_on(status: int, tmp_path: Path) -> None:
    with http_collector() as collector:
        collector.refuse_with = status
        spool = spooling(
            HttpSpanExporter(f"http://127.0.0.1:{collector.port}/v1/traces"), tmp_path, FAST
        )
        _refused_then_taken(spool, collector, tmp_path)


def _refused_then_taken(
    spool: SpanSpool, collector: GrpcCollector | HttpCollector, directory: Path
) -> None:
    spool.on_end(make_span(0))
    assert spool.force_flush(8000)
    assert len(collector.received.headers) == FAST.refusals
    collector.refuse_with = None
    spool.on_end(make_span(1))
    spool.shutdown()
    assert collector.received.span_names == ["span 1"]
    assert spooled_names(directory) == ["span 0"]
    counters = spool.counters
    assert (counters.exported, counters.spooled, counters.dropped) == (1, 1, 0)
    assert counters.retries == FAST.refusals


def test_a_transient_status_is_repeated_until_it_passes(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        collector.refuse_with = grpc.StatusCode.RESOURCE_EXHAUSTED
        spool = spooling(GrpcSpanExporter(f"http://127.0.0.1:{collector.port}"), tmp_path, FAST)
        spool.on_end(make_span(0))
        collector.received.wait(lambda: len(collector.received.headers) > 2 * FAST.refusals)
        collector.refuse_with = None
        collector.received.wait_for_spans(1)
        spool.shutdown()
        assert spool.counters.spooled == 0


def test_spool_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    exporter = FileSpanExporter(blocked / "below")
    spool = spooling(exporter, blocked / "spool", FAST)
    spool.on_end(make_span(0))
    spool.shutdown(1)
    assert spool.counters.dropped == 1
    assert "1 spans not delivered before the end are lost" in caplog.text


def test_an_exporter_that_raises_is_a_failure_not_the_end(tmp_path: Path) -> None:
    class Raises(Gate):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if not self.entered.is_set():
                self.entered.set()
                raise RuntimeError("once")
            return super().export(spans)

    exporter = Raises()
    exporter.open.set()
    spool = spooling(exporter, tmp_path, FAST)
    spool.on_end(make_span(0))
    assert spool.force_flush(5000)
    spool.shutdown()
    assert exporter.batches == [["span 0"]]
    assert spool.counters.retries == 1


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    spool = spooling(gate, tmp_path, SpoolOptions(batch=64, delay=0.01))
    spans = [make_span(number) for number in range(4000)]

    def put(part: list[OpenSpan]) -> None:
        for span in part:
            spool.on_end(span)

    threads = [threading.Thread(target=put, args=(spans[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.shutdown()
    assert sorted(name for batch in gate.batches for name in batch) == sorted(names(4000))


def test_what_is_queued_before_the_start_is_delivered(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    spool = SpanSpool(tmp_path, FAST)
    spool.on_end(make_span(0))
    assert not spool.force_flush(10)
    spool.start(gate)
    assert spool.force_flush(5000)
    spool.shutdown()
    assert gate.batches == [["span 0"]]


def test_what_was_queued_is_in_the_file_if_it_was_never_started(tmp_path: Path) -> None:
    spool = SpanSpool(tmp_path, FAST)
    spool.on_end(make_span(0))
    spool.shutdown(1)
    assert spooled_names(tmp_path) == ["span 0"]


def test_options_from_the_environment() -> None:
    options = SpoolOptions.from_environ(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "300",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
    )
    assert (options.queue, options.batch, options.delay) == (100, 100, 0.25)
    assert SpoolOptions.from_environ({"OTEL_BSP_SCHEDULE_DELAY": ""}) == SpoolOptions()
    with pytest.raises(ConfigurationError, match="OTEL_BSP_MAX_QUEUE_SIZE: 'many'"):
        SpoolOptions.from_environ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"})
