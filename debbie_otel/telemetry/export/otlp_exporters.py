"""The SDK's own OTLP exporters, with our encoder of spans.

Endpoint, headers, TLS, compression, timeout and every `OTEL_EXPORTER_OTLP_*` variable stay the
SDK's business. Its exporters offer no public way to change the encoder, nor do they tell why an
export failed. So the span exporters below reach into private parts, each in one place; where a
part is missing, the SDK's own encoder works on, and only the classification of errors is lost.

Source of what may be retried: OTLP specification, "Failures" for gRPC and for HTTP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import grpc
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace.export import SpanExportResult

from debbie_otel.telemetry.export.exporters import DirectSpanExporter, ExportProblem, LastMetrics
from debbie_otel.telemetry.export.otlp_protobuf import encode_spans
from debbie_otel.telemetry.spans import FinishedSpan, readable

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


class GrpcSpanExporter(DirectSpanExporter, grpc_traces.OTLPSpanExporter):
    """OTLP/gRPC, sending bytes that are encoded here. `problem` says why an export failed."""

    problem: ExportProblem | None = None
    _encodes = False

    def __init__(self, endpoint: str | None = None) -> None:
        # No code counts as worth a retry inside the SDK, because the spool retries, and better.
        super().__init__(endpoint=endpoint, retryable_error_codes=[grpc.StatusCode.OK])
        if all(hasattr(self, name) for name in ("_stub", "_client", "_channel")):
            # The SDK calls _stub anew on every reconnect.
            self._stub: Any = partial(_PassThroughClient, on_error=self._note)
            channel: Any = self._channel
            self._client: Any = self._stub(channel)
            self._translate_data: Any = encode_spans
            self._encodes = True

    def export(self, spans: Sequence[FinishedSpan]) -> SpanExportResult:
        """Send one batch, once."""
        self.problem = None
        if not self._encodes:
            return super().export([readable(span) for span in spans])
        return super().export(spans)  # type: ignore[arg-type]  # encode_spans takes them

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


class HttpSpanExporter(DirectSpanExporter, http_traces.OTLPSpanExporter):
    """OTLP/HTTP with protobuf bodies that are encoded here.

    `problem` says why an export failed.
    """

    problem: ExportProblem | None = None

    def export(self, spans: Sequence[FinishedSpan]) -> SpanExportResult:
        """Send one batch; the SDK's client retries it for some seconds."""
        client: Any = getattr(self, "_client", None)
        if self._shutdown or not hasattr(client, "export"):
            return super().export([readable(span) for span in spans])
        result = client.export(encode_spans(spans))
        if getattr(result, "success", False):
            self.problem = None
            return SpanExportResult.SUCCESS
        status = getattr(result, "status_code", None)
        reason = getattr(result, "reason", None) or getattr(result, "error", None) or "no answer"
        permanent = status is not None and status not in _TRANSIENT_STATUS
        self.problem = ExportProblem(f"{status} {reason}" if status else str(reason), permanent)
        return SpanExportResult.FAILURE


class GrpcMetricExporter(LastMetrics, grpc_metrics.OTLPMetricExporter):
    """The SDK's OTLP/gRPC metric exporter, with `LastMetrics`."""

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export, and keep the data until it has arrived."""
        send = partial(super().export, metrics_data, timeout_millis, **kwargs)
        return self._remembering(metrics_data, send)


class HttpMetricExporter(LastMetrics, http_metrics.OTLPMetricExporter):
    """The SDK's OTLP/HTTP metric exporter, with `LastMetrics`."""

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export, and keep the data until it has arrived."""
        send = partial(super().export, metrics_data, timeout_millis, **kwargs)
        return self._remembering(metrics_data, send)
