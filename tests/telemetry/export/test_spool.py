"""Delivery: collectors that are down, hung, or refuse; bounds and deadlines."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.export.file_exporters import FileSpanExporter
from debbie_otel.telemetry.export.otlp_exporters import GrpcSpanExporter, HttpSpanExporter
from debbie_otel.telemetry.export.spool import SpoolProcessor
from debbie_otel.telemetry.export.spool_options import SpoolOptions
from debbie_otel.telemetry.spans import SpanWriter
from tests.telemetry.collector import (
    GrpcCollector,
    HttpCollector,
    free_port,
    grpc_collector,
    http_collector,
)

RESOURCE = Resource({"service.name": "test-agent"})
FAST = SpoolOptions(delay=0.05, first_retry=0.05, last_retry=0.2)


def make_span(number: int, *, sampled: bool = True) -> ReadableSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    context = SpanContext(number + 1, number + 1, is_remote=False, trace_flags=flags)
    return ReadableSpan(f"span {number}", context, resource=RESOURCE, start_time=1, end_time=2)


def spooled_names(directory: Path) -> list[str]:
    """Read the names of the spans in the file, in order."""
    path = directory / "traces.jsonl"
    if not path.exists():
        return []
    return [
        span["name"]
        for line in path.read_bytes().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def names(count: int, start: int = 0) -> list[str]:
    return [f"span {number}" for number in range(start, count)]


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
    processor = SpoolProcessor(gate, tmp_path, SpoolOptions(batch=10, delay=0.2))
    for number in range(25):
        processor.on_end(make_span(number))
    assert processor.force_flush(5000)
    assert [name for batch in gate.batches for name in batch] == names(25)
    assert max(len(batch) for batch in gate.batches) == 10
    processor.shutdown()
    assert processor.counters.exported == 25
    assert spooled_names(tmp_path) == []


def test_unsampled_spans_are_not_sent(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    processor = SpoolProcessor(gate, tmp_path, FAST)
    processor.on_end(make_span(0, sampled=False))
    processor.on_end(ReadableSpan("no context", resource=RESOURCE))
    processor.on_end(make_span(1))
    processor.shutdown()
    assert gate.batches == [["span 1"]]


def test_an_exporter_of_the_sdk_gets_spans_of_the_sdk(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    processor = SpoolProcessor(exporter, tmp_path, FAST)
    writer = SpanWriter(
        processor.on_end, RESOURCE, InstrumentationScope("ours"), ALWAYS_ON, RandomIdGenerator()
    )
    layer = SharedAttributes({"session.id": "s"})
    writer.end(writer.start("ours", SpanKind.SERVER, 1, None, layer, {"n": 1}), 2)
    assert processor.force_flush(5000)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind, span.start_time, span.end_time) == ("ours", SpanKind.SERVER, 1, 2)
    assert dict(span.attributes or {}) == {"session.id": "s", "n": 1}
    processor.shutdown()


def test_on_end_does_not_wait_and_the_oldest_go_when_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    processor = SpoolProcessor(gate, tmp_path, SpoolOptions(queue=50, batch=10, delay=0.01))
    for number in range(10):
        processor.on_end(make_span(number))
    assert gate.entered.wait(5)  # these ten are under way, out of the queue
    assert processor.queued == 0
    for number in range(10, 160):
        processor.on_end(make_span(number))
    assert processor.queued == 50
    assert processor.counters.dropped == 100
    assert caplog.text.count("the oldest are dropped") == 1
    gate.open.set()
    processor.shutdown()
    delivered = [name for batch in gate.batches for name in batch]
    assert delivered == names(10) + names(160, 110)


def test_spans_after_the_end_are_counted(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    processor = SpoolProcessor(gate, tmp_path, FAST)
    processor.shutdown()
    processor.on_end(make_span(0))
    assert processor.counters.dropped == 1
    processor.shutdown()  # a second time is harmless


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_collector_down_then_up_loses_nothing(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "debbie_otel")
    port = free_port()
    exporter: SpanExporter = (
        GrpcSpanExporter(f"http://127.0.0.1:{port}")
        if kind == "grpc"
        else HttpSpanExporter(f"http://127.0.0.1:{port}/v1/traces")
    )
    processor = SpoolProcessor(exporter, tmp_path, FAST, "the test's collector")
    for number in range(1200):
        processor.on_end(make_span(number))
    assert not processor.force_flush(500)
    make = grpc_collector if kind == "grpc" else http_collector
    with make(port) as collector:
        for number in range(1200, 1500):
            processor.on_end(make_span(number))
        assert processor.force_flush(15000)
        assert collector.received.span_names == names(1500)
        processor.shutdown()
    assert processor.counters.exported == 1500
    assert (processor.counters.dropped, processor.counters.spooled) == (0, 0)
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
        exporter: SpanExporter = (
            GrpcSpanExporter(base) if kind == "grpc" else HttpSpanExporter(f"{base}/v1/traces")
        )
        processor = SpoolProcessor(exporter, tmp_path, FAST)
        for number in range(1300):
            processor.on_end(make_span(number))
        collector.received.wait(lambda: bool(collector.received.headers))
        started = time.monotonic()
        processor.shutdown(1.5)
        assert time.monotonic() - started < 1.5 + 0.5
        assert spooled_names(tmp_path) == names(1300)
        assert processor.counters.spooled == 1300
        assert "1300 spans not delivered before the end are in" in caplog.text


def test_collector_that_is_down_gets_a_short_last_chance(tmp_path: Path) -> None:
    exporter = GrpcSpanExporter(f"http://127.0.0.1:{free_port()}")
    processor = SpoolProcessor(exporter, tmp_path, FAST)
    for number in range(1300):
        processor.on_end(make_span(number))
    assert not processor.force_flush(600)
    started = time.monotonic()
    processor.shutdown(5)
    assert time.monotonic() - started < 2
    assert spooled_names(tmp_path) == names(1300)
    assert processor.counters.spooled == 1300


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
        processor = SpoolProcessor(
            GrpcSpanExporter(f"http://127.0.0.1:{collector.port}"), tmp_path, FAST
        )
        _refused_then_taken(processor, collector, tmp_path)


@pytest.mark.parametrize("status", [400, 401, 413, 500])
def test_http_refusal_goes_to_the_file_and_the_rest_goes_on(status: int, tmp_path: Path) -> None:
    with http_collector() as collector:
        collector.refuse_with = status
        processor = SpoolProcessor(
            HttpSpanExporter(f"http://127.0.0.1:{collector.port}/v1/traces"), tmp_path, FAST
        )
        _refused_then_taken(processor, collector, tmp_path)


def _refused_then_taken(
    processor: SpoolProcessor, collector: GrpcCollector | HttpCollector, directory: Path
) -> None:
    processor.on_end(make_span(0))
    assert processor.force_flush(8000)
    assert len(collector.received.headers) == FAST.refusals
    collector.refuse_with = None
    processor.on_end(make_span(1))
    processor.shutdown()
    assert collector.received.span_names == ["span 1"]
    assert spooled_names(directory) == ["span 0"]
    counters = processor.counters
    assert (counters.exported, counters.spooled, counters.dropped) == (1, 1, 0)
    assert counters.retries == FAST.refusals


def test_a_transient_status_is_repeated_until_it_passes(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        collector.refuse_with = grpc.StatusCode.RESOURCE_EXHAUSTED
        processor = SpoolProcessor(
            GrpcSpanExporter(f"http://127.0.0.1:{collector.port}"), tmp_path, FAST
        )
        processor.on_end(make_span(0))
        collector.received.wait(lambda: len(collector.received.headers) > 2 * FAST.refusals)
        collector.refuse_with = None
        collector.received.wait_for_spans(1)
        processor.shutdown()
        assert processor.counters.spooled == 0


def test_spool_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    exporter = FileSpanExporter(blocked / "below")
    processor = SpoolProcessor(exporter, blocked / "spool", FAST)
    processor.on_end(make_span(0))
    processor.shutdown(1)
    assert processor.counters.dropped == 1
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
    processor = SpoolProcessor(exporter, tmp_path, FAST)
    processor.on_end(make_span(0))
    assert processor.force_flush(5000)
    processor.shutdown()
    assert exporter.batches == [["span 0"]]
    assert processor.counters.retries == 1


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    processor = SpoolProcessor(gate, tmp_path, SpoolOptions(batch=64, delay=0.01))
    spans = [make_span(number) for number in range(4000)]

    def put(part: list[ReadableSpan]) -> None:
        for span in part:
            processor.on_end(span)

    threads = [threading.Thread(target=put, args=(spans[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    processor.shutdown()
    assert sorted(name for batch in gate.batches for name in batch) == sorted(names(4000))
