"""The SDK's own OTLP exporters, with our encoder of spans.

Endpoint, headers, TLS, compression, timeout and every `OTEL_EXPORTER_OTLP_*` variable stay the
SDK's business. Its exporters offer no public way to change the encoder, nor do they tell why an
export failed: `sdk_private` has the ways there are. Where one is missing, the SDK's own encoder
works on, and only the classification of errors is lost.

Source of what may be retried: OTLP specification, "Failures" for gRPC and for HTTP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import grpc
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from debbie_otel.compat.sdk_private import http_export, send_encoded
from debbie_otel.telemetry.export.otlp_protobuf import encode_spans
from debbie_otel.telemetry.export.span_exporter import DirectSpanExporter, ExportProblem
from debbie_otel.telemetry.spans import OpenSpan

_TRACE_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TRANSIENT_CODES: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_TRANSIENT_STATUS: Final = frozenset({408, 429, 502, 503, 504})


class GrpcSpanExporter(DirectSpanExporter):
    """OTLP/gRPC, sending bytes that are encoded here; each batch once, as the spool repeats it."""

    def __init__(self, endpoint: str | None = None) -> None:
        # No code counts as worth a retry inside the SDK, because the spool retries, and better.
        self._sdk = grpc_traces.OTLPSpanExporter(
            endpoint=endpoint, retryable_error_codes=[grpc.StatusCode.OK]
        )
        self._encodes = send_encoded(
            self._sdk, encode_spans, partial(_PassThroughClient, on_error=self._note)
        )

    def export(self, spans: Sequence[OpenSpan]) -> SpanExportResult:
        """Send one batch."""
        self.problem = None
        sdk: Any = self._sdk
        result: SpanExportResult = sdk.export(
            spans if self._encodes else [span.readable() for span in spans]
        )
        return result

    def shutdown(self) -> None:
        """Close the channel."""
        self._sdk.shutdown()

    def _note(self, error: Any) -> None:
        code = error.code()
        self.problem = ExportProblem(
            f"{code.name}: {error.details()}", code not in _TRANSIENT_CODES, _retry_delay(error)
        )


class _PassThroughClient:
    """In place of TraceServiceStub: takes a request that is bytes already."""

    def __init__(self, channel: grpc.Channel, on_error: Callable[[Any], None]) -> None:
        self._call: Any = channel.unary_unary(
            _TRACE_METHOD, response_deserializer=ExportTraceServiceResponse.FromString
        )
        self._on_error = on_error

    def Export(self, request: bytes, **options: Any) -> Any:  # noqa: N802 - the service's name
        """Call the service; raise grpc.RpcError."""
        try:
            return self._call(request, **options)
        except grpc.RpcError as error:
            self._on_error(error)
            raise


def _retry_delay(error: Any) -> float:
    for key, value in error.trailing_metadata() or ():
        if key == "google.rpc.retryinfo-bin" and isinstance(value, bytes):
            with contextlib.suppress(ValueError):
                delay = RetryInfo.FromString(value).retry_delay
                return max(0.0, float(delay.seconds + delay.nanos / 1e9))
    return 0.0


class HttpSpanExporter(DirectSpanExporter):
    """OTLP/HTTP with protobuf bodies that are encoded here; the SDK's client retries each."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._sdk = http_traces.OTLPSpanExporter(endpoint=endpoint)
        self._send = http_export(self._sdk)

    def export(self, spans: Sequence[OpenSpan]) -> SpanExportResult:
        """Send one batch."""
        if self._send is None:
            return self._sdk.export([span.readable() for span in spans])
        result = self._send(encode_spans(spans))
        if getattr(result, "success", False):
            self.problem = None
            return SpanExportResult.SUCCESS
        status = getattr(result, "status_code", None)
        reason = getattr(result, "reason", None) or getattr(result, "error", None) or "no answer"
        permanent = status is not None and status not in _TRANSIENT_STATUS
        self.problem = ExportProblem(f"{status} {reason}" if status else str(reason), permanent)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Cut off what it is at."""
        self._sdk.shutdown()  # type: ignore[no-untyped-call]
