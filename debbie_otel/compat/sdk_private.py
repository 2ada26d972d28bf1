"""The private names of OpenTelemetry's packages that Debbie cannot do without, each in one place.

Nothing else in the package imports or reads one. Where a name is missing in another version,
telemetry goes on without what it was for, as each function says; a test per name in
tests/compat/test_sdk_private.py fails then. The API and the SDK of logs have no public modules yet,
so their names are imported here as well.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry._logs import LoggerProvider as ApiLoggerProvider
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics import _Gauge as Gauge
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricReader,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import Aggregation
from opentelemetry.sdk.resources import Resource

__all__ = [
    "ApiLoggerProvider",
    "BatchLogRecordProcessor",
    "CollectingReader",
    "Gauge",
    "LogRecord",
    "LogRecordExportResult",
    "LogRecordExporter",
    "LoggerProvider",
    "ReadableLogRecord",
    "SeverityNumber",
    "aggregations",
    "callbacks_of",
    "encode_logs",
    "get_logger_provider",
    "http_export",
    "internal_meter_provider",
    "is_stand_in",
    "log_exporter",
    "send_encoded",
    "temporalities",
    "waiting_records",
]

# -- metrics -----------------------------------------------------------------------------------


class CollectingReader(MetricReader):
    """A `MetricReader` that is asked to collect, and keeps what it gets."""

    @property
    def is_attached(self) -> bool:
        """Whether a provider has taken it; to collect before is an error."""
        return getattr(self, "_collect", None) is not None

    @abstractmethod
    def received(self, data: MetricsData) -> None:
        """Take what was collected."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the SDK's signature
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        self.received(metrics_data)


def internal_meter_provider(reader: MetricReader) -> MeterProvider:
    """Return a provider of metrics that never leave the process, whatever `OTEL_SDK_DISABLED` says.

    Without `_disabled` that variable would switch the detection of anomalies off as well.
    """
    provider = MeterProvider(
        [reader], resource=Resource.get_empty(), shutdown_on_exit=False, exemplar_filter=None
    )
    provider._disabled = False  # noqa: SLF001
    return provider


def temporalities(exporter: MetricExporter) -> dict[type, AggregationTemporality] | None:
    """Return what an exporter wants to get; None, which means cumulative, if it cannot be told."""
    return getattr(exporter, "_preferred_temporality", None)


def aggregations(exporter: MetricExporter) -> dict[type, Aggregation] | None:
    """Return how an exporter wants it aggregated; None, which means as usual, likewise."""
    return getattr(exporter, "_preferred_aggregation", None)


def callbacks_of(instrument: Any) -> list[Any] | None:
    """Return the callbacks of an observable instrument, to add and remove one; None if unknown."""
    found = getattr(instrument, "_callbacks", None)
    return found if isinstance(found, list) else None


def is_stand_in(provider: object) -> bool:
    """Tell whether the API returned its stand-in, as the program has set no provider.

    Its class is public for traces only. Taken for a provider, it would leave telemetry nowhere.
    """
    return type(provider).__name__.lstrip("_").startswith("Proxy")


# -- exporters of spans ------------------------------------------------------------------------


def send_encoded(
    exporter: Any, encode: Callable[..., bytes], client: Callable[[Any], object]
) -> bool:
    """Have a gRPC exporter of spans send bytes; False if it cannot, and sends what it encodes.

    Args:
        exporter: The SDK's.
        encode: Called with what `export` gets.
        client: Returns what has the method `Export(request, metadata, timeout)` for a channel.

    """
    if not all(hasattr(exporter, name) for name in ("_stub", "_client", "_channel")):
        return False
    exporter._stub = client  # noqa: SLF001 - it calls this anew for every channel
    exporter._client = client(exporter._channel)  # noqa: SLF001
    exporter._translate_data = encode  # noqa: SLF001
    return True


def http_export(exporter: Any) -> Callable[[bytes], Any] | None:
    """Return what sends a body and returns the result; None if it cannot be told."""
    return getattr(getattr(exporter, "_client", None), "export", None)


# -- logs --------------------------------------------------------------------------------------


def log_exporter(*, grpc: bool) -> type[LogRecordExporter]:
    """Return the SDK's OTLP exporter of log records."""
    if grpc:
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

        return OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http import _log_exporter as over_http

    return over_http.OTLPLogExporter


def encode_logs(records: Sequence[ReadableLogRecord]) -> dict[str, Any]:
    """Return log records as an object of OTLP/JSON."""
    from opentelemetry.exporter.otlp.json.common import _log_encoder

    return _log_encoder.encode_logs(records).to_dict()


def waiting_records(processor: BatchLogRecordProcessor) -> list[ReadableLogRecord]:
    """Take the records that a processor has not come to; none, which loses them, if unknown."""
    queue: Any = getattr(getattr(processor, "_batch_processor", None), "_queue", None)
    records: list[ReadableLogRecord] = []
    while queue:
        try:
            records.append(queue.pop())
        except IndexError:  # its own thread was quicker
            break
    return records
