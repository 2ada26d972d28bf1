"""Exporters: the SDK's own OTLP exporters with our encoder, and OTLP/JSON lines in files.

Endpoint, headers, TLS, compression, timeout and every `OTEL_EXPORTER_OTLP_*` variable stay the
SDK's business. Its exporters offer no public way to change the encoder, nor do they tell why an
export failed. So the span exporters below reach into private parts, each in one place; where a
part is missing, the SDK's own encoder works on, and only the classification of errors is lost.

Source of what may be retried: OTLP specification, "Failures" for gRPC and for HTTP.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from debbie_otel.telemetry.otlp import encode_spans
from debbie_otel.telemetry.otlp_json import span_lines
from debbie_otel.telemetry.spans import FinishedSpan, readable

_logger = logging.getLogger(__name__)

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


class ExportProblem(msgspec.Struct, frozen=True):
    """Why the last export failed.

    Attributes:
        text: For a log line.
        permanent: The receiver understood and refused: the same batch will be refused again.
        retry_after: Seconds that the receiver asks to wait; 0 where it does not say.

    """

    text: str
    permanent: bool = False
    retry_after: float = 0.0


class DirectSpanExporter:
    """Mix-in of the exporters that take spans of ours as they are."""


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


class LastMetrics:
    """Mix-in of metric exporters: remembers what has not arrived, and logs a failure once.

    Metrics are cumulative by default, so that what one export missed is in the next one; only
    what the last export before the end could not deliver is lost. `undelivered` is that.
    """

    undelivered: MetricsData | None = None
    _failing = False

    def _remembering(
        self, data: MetricsData, export: Callable[[], MetricExportResult]
    ) -> MetricExportResult:
        self.undelivered = data
        try:
            result = export()
        except Exception as error:  # noqa: BLE001 - an exporter's fault must not end its thread
            _logger.debug("metric export: %r", error)
            result = MetricExportResult.FAILURE
        if result is MetricExportResult.SUCCESS:
            self.undelivered = None
            self._failing = False
        elif not self._failing:
            self._failing = True
            _logger.warning("metrics cannot be delivered; the next export repeats them")
        return result


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


class LinesFile:
    """A file of JSON lines that is appended to, and rotated: bounded, private, never raising.

    `DIR/name.jsonl` is the newest; `DIR/name.1.jsonl` the one before, up to `files - 1`. Each
    write opens the file anew, so that several processes can append to the same one.

    Args:
        directory: Created with mode 0700 where missing.
        name: Without suffix.
        max_bytes: Size beyond which the next write goes to a new file.
        files: How many files there are at most.

    """

    def __init__(
        self, directory: Path, name: str, max_bytes: int = 64 << 20, files: int = 4
    ) -> None:
        self.path = directory / f"{name}.jsonl"
        self.problem = ""
        self._directory = directory
        self._name = name
        self._max_bytes = max_bytes
        self._files = files
        self._torn = False

    def append(self, lines: bytes) -> bool:
        """Append whole lines; return whether all of it was written. `problem` says why not."""
        if self._torn:
            lines = b"\n" + lines  # readers skip the torn line before it
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rotate(len(lines))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            handle = os.open(self.path, flags, 0o600)
            try:
                written = os.write(handle, lines)
            finally:
                os.close(handle)
        except OSError as error:
            self.problem = str(error)
            return False
        self._torn = written != len(lines)
        self.problem = "no space left" if self._torn else ""
        return not self._torn

    def _rotate(self, more: int) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size == 0 or size + more <= self._max_bytes:
            return
        for number in range(self._files - 1, 0, -1):
            older = self._directory / f"{self._name}.{number}.jsonl"
            newer = self._directory / f"{self._name}.{number - 1}.jsonl"
            source = self.path if number == 1 else newer
            if source.exists():
                source.replace(older)
        if self._files == 1:
            self.path.unlink()


class FileSpanExporter(DirectSpanExporter, SpanExporter):
    """Appends spans to `DIR/traces.jsonl`, a line per batch; never raises."""

    problem: ExportProblem | None = None

    def __init__(self, directory: Path, max_bytes: int = 64 << 20, files: int = 4) -> None:
        self.file = LinesFile(directory, "traces", max_bytes, files)

    def export(self, spans: Sequence[FinishedSpan]) -> SpanExportResult:
        """Write one batch."""
        if self.file.append(span_lines(spans)):
            self.problem = None
            return SpanExportResult.SUCCESS
        self.problem = ExportProblem(self.file.problem)
        return SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Return True: nothing is buffered."""
        return True


class FileMetricExporter(MetricExporter):
    """Appends metrics to `DIR/metrics.jsonl`, a line per export; never raises."""

    def __init__(self, directory: Path, max_bytes: int = 64 << 20, files: int = 4) -> None:
        super().__init__()
        self.file = LinesFile(directory, "metrics", max_bytes, files)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> MetricExportResult:
        """Write one collection."""
        written = self.file.append(metric_lines(metrics_data))
        return MetricExportResult.SUCCESS if written else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Return True: nothing is buffered."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing: no file stays open."""


def metric_lines(metrics_data: MetricsData) -> bytes:
    r"""Encode metrics as one line of OTLP/JSON, `{"resourceMetrics":[...]}\n`."""
    return otlp_line(encode_metrics(metrics_data), "resourceMetrics")


def otlp_line(request: Message, member: str) -> bytes:
    """Encode an OTLP request as one line of OTLP/JSON.

    Args:
        request: An export request of metrics or logs.
        member: Its only member, there even where it is empty.

    """
    encoded = MessageToDict(request, use_integers_for_enums=True)
    encoded.setdefault(member, [])
    _hex_ids(encoded)
    return msgspec.json.encode(encoded) + b"\n"


def _hex_ids(value: Any) -> None:
    """Rewrite the ids of spans: protobuf's mapping says base64, OTLP says hex."""
    for entry in value.values() if isinstance(value, dict) else value:
        if isinstance(entry, dict | list):
            _hex_ids(entry)
    if isinstance(value, dict):
        for name in ("traceId", "spanId"):
            if name in value:
                value[name] = base64.b64decode(value[name]).hex()
