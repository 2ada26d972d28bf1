"""The exporters against real receivers, and the files that they write."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from debbie_otel.telemetry.exporters import (
    FileMetricExporter,
    FileSpanExporter,
    GrpcMetricExporter,
    GrpcSpanExporter,
    HttpMetricExporter,
    HttpSpanExporter,
    LinesFile,
)
from tests.telemetry.collector import (
    Certificate,
    free_port,
    grpc_collector,
    http_collector,
    make_certificate,
)
from tests.telemetry.test_spool import make_span, names, spooled_names


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def metrics() -> MetricsData:
    """A counter with an exemplar, and a histogram."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], resource=Resource({"service.name": "x"}), shutdown_on_exit=False
    )
    meter = provider.get_meter("debbie_otel")
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    traced = set_span_in_context(NonRecordingSpan(context))
    meter.create_counter("calls").add(3, {"method": "a"}, context=traced)
    meter.create_histogram("duration").record(0.5, {"method": "a"})
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data


def test_grpc_sends_what_we_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue,x-other=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    spans = [make_span(number) for number in range(3)]
    with grpc_collector() as collector:
        exporter = GrpcSpanExporter(f"http://127.0.0.1:{collector.port}")
        monkeypatch.setattr(
            "opentelemetry.exporter.otlp.proto.grpc.trace_exporter.encode_spans", _never
        )
        assert exporter.export(spans) is SpanExportResult.SUCCESS
        exporter.shutdown()
        assert collector.received.span_names == names(3)
        headers = collector.received.headers[0]
        assert (headers["x-tenant"], headers["x-other"]) == ("blue", "a b")
        assert exporter._compression is grpc.Compression.Gzip
    assert exporter.problem is None


def _never(*args: object) -> None:
    raise AssertionError("the SDK's encoder was used")


def test_http_sends_what_we_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        exporter: SpanExporter = HttpSpanExporter()
        monkeypatch.setattr(
            "opentelemetry.exporter.otlp.proto.http.trace_exporter.encode_spans", _never
        )
        assert exporter.export([make_span(0)]) is SpanExportResult.SUCCESS
        exporter.shutdown()
        headers = collector.received.headers[0]
        assert collector.received.span_names == ["span 0"]
    assert headers["x-tenant"] == "blue"
    assert headers["content-encoding"] == "gzip"
    assert headers["content-type"] == "application/x-protobuf"


def test_tls(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)  # requests lets it win over the SDK's
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate.ca))
    with grpc_collector(certificate=certificate) as over_grpc:
        exporter = GrpcSpanExporter(f"https://localhost:{over_grpc.port}")
        assert exporter.export([make_span(0)]) is SpanExportResult.SUCCESS
        exporter.shutdown()
    with http_collector(certificate=certificate) as over_http:
        http: SpanExporter = HttpSpanExporter(f"https://127.0.0.1:{over_http.port}/v1/traces")
        assert http.export([make_span(0)]) is SpanExportResult.SUCCESS
        http.shutdown()
    assert over_grpc.received.span_names == over_http.received.span_names == ["span 0"]


def test_tls_that_cannot_be_verified_is_refused(certificate: Certificate) -> None:
    with grpc_collector(certificate=certificate) as collector:
        exporter = GrpcSpanExporter(f"https://localhost:{collector.port}")
        assert exporter.export([make_span(0)]) is SpanExportResult.FAILURE
        exporter.shutdown()
    assert exporter.problem is not None
    assert exporter.problem.text.startswith("UNAVAILABLE")
    assert not exporter.problem.permanent


def test_grpc_reconnects_with_our_encoder() -> None:
    port = free_port()
    exporter = GrpcSpanExporter(f"http://127.0.0.1:{port}")
    assert exporter.export([make_span(0)]) is SpanExportResult.FAILURE
    with grpc_collector(port) as collector:
        assert exporter.export([make_span(1)]) is SpanExportResult.SUCCESS
        assert collector.received.span_names == ["span 1"]
    exporter.shutdown()


class Throttling(grpc.GenericRpcHandler):
    """Answers every call with RESOURCE_EXHAUSTED and google.rpc.RetryInfo."""

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]

            info = RetryInfo()
            info.retry_delay.FromMilliseconds(2500)
            context.set_trailing_metadata([("google.rpc.retryinfo-bin", info.SerializeToString())])
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
            return b""

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=ExportTraceServiceResponse.SerializeToString
        )


def test_grpc_heeds_the_delay_that_the_receiver_asks_for() -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Throttling()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    exporter = GrpcSpanExporter(f"http://127.0.0.1:{port}")
    assert exporter.export([make_span(0)]) is SpanExportResult.FAILURE
    exporter.shutdown()
    server.stop(None).wait(5)
    assert exporter.problem is not None
    assert (exporter.problem.permanent, exporter.problem.retry_after) == (False, 2.5)


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_metrics_are_remembered_until_they_arrive(kind: str, metrics: MetricsData) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        base = f"http://127.0.0.1:{collector.port}"
        exporter: GrpcMetricExporter | HttpMetricExporter = (
            GrpcMetricExporter(endpoint=base)
            if kind == "grpc"
            else HttpMetricExporter(endpoint=f"{base}/v1/metrics")
        )
        collector.refuse_with = grpc.StatusCode.INVALID_ARGUMENT if kind == "grpc" else 400
        assert exporter.export(metrics) is MetricExportResult.FAILURE
        assert exporter.undelivered is metrics
        collector.refuse_with = None
        assert exporter.export(metrics) is MetricExportResult.SUCCESS
        assert exporter.undelivered is None
        exporter.shutdown()
        assert collector.received.metrics == [encode_metrics(metrics)]


def test_files_are_private_lines(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    exporter = FileSpanExporter(directory)
    for number in range(2):
        assert exporter.export([make_span(number)]) is SpanExportResult.SUCCESS
        assert spooled_names(directory) == names(number + 1)  # on disk at once
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "traces.jsonl").stat().st_mode) == 0o600
    assert (directory / "traces.jsonl").read_bytes().count(b"\n") == 2


def test_metric_lines_are_otlp_json(tmp_path: Path, metrics: MetricsData) -> None:
    exporter = FileMetricExporter(tmp_path)
    assert exporter.export(metrics) is MetricExportResult.SUCCESS
    line = (tmp_path / "metrics.jsonl").read_text()
    document = json.loads(line)
    found = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    exemplar = found[0]["sum"]["dataPoints"][0]["exemplars"][0]
    assert (exemplar["traceId"], exemplar["spanId"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert found[0]["sum"]["aggregationTemporality"] == 2
    assert found[0]["sum"]["dataPoints"][0]["asInt"] == "3"
    del found[0]["sum"]["dataPoints"][0]["exemplars"]
    expected = encode_metrics(metrics)
    del expected.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0].exemplars[:]
    assert json_format.ParseDict(document, ExportMetricsServiceRequest()) == expected


def test_rotation_bounds_the_files(tmp_path: Path) -> None:
    file = LinesFile(tmp_path, "traces", max_bytes=100, files=3)
    for number in range(50):
        assert file.append(b'{"line": %06d}\n' % number)  # 17 bytes
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["traces.1.jsonl", "traces.2.jsonl", "traces.jsonl"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    newest_last = [tmp_path / name for name in (found[1], found[0], found[2])]
    kept = [int(line[9:15]) for path in newest_last for line in path.read_text().splitlines()]
    assert kept == list(range(kept[0], 50))


def test_rotation_with_one_file(tmp_path: Path) -> None:
    file = LinesFile(tmp_path, "x", max_bytes=10, files=1)
    assert file.append(b"12345678\n")
    assert file.append(b"abcdefgh\n")
    assert file.path.read_bytes() == b"abcdefgh\n"


def test_a_line_larger_than_a_file_is_written(tmp_path: Path) -> None:
    file = LinesFile(tmp_path, "x", max_bytes=10, files=2)
    assert file.append(b"x" * 50 + b"\n")
    assert file.path.stat().st_size == 51


def test_files_never_raise(tmp_path: Path, metrics: MetricsData) -> None:
    (tmp_path / "file").write_text("in the way")
    spans = FileSpanExporter(tmp_path / "file")
    assert spans.export([make_span(0)]) is SpanExportResult.FAILURE
    assert spans.problem is not None
    assert "File exists" in spans.problem.text
    assert FileMetricExporter(tmp_path / "file").export(metrics) is MetricExportResult.FAILURE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").symlink_to("/dev/full")
    exporter = FileSpanExporter(tmp_path)
    assert exporter.export([make_span(0)]) is SpanExportResult.FAILURE
    assert exporter.problem is not None
    assert os.strerror(28) in exporter.problem.text
