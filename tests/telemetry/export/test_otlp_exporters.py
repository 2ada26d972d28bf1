"""The OTLP exporters against real receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from debbie_otel.telemetry.export.otlp_exporters import GrpcSpanExporter, HttpSpanExporter
from tests.telemetry.collector import (
    Certificate,
    free_port,
    grpc_collector,
    http_collector,
    make_certificate,
)
from tests.telemetry.export.made_spans import make_span, names


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


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
        assert exporter._sdk._compression is grpc.Compression.Gzip
    assert exporter.problem is None


def _never(*args: object) -> None:
    raise AssertionError("the SDK's encoder was used")


def test_http_sends_what_we_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        exporter = HttpSpanExporter()
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
        http = HttpSpanExporter(f"https://127.0.0.1:{over_http.port}/v1/traces")
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
