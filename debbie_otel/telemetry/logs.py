"""Log events: few records that say what happened, through a LoggerProvider per service.

Records wait in the SDK's batch processor, so that the caller of `emit` never waits for a receiver.
What a receiver does not take is appended to `logs.jsonl` in the spool, as with spans.
Sources: OpenTelemetry specification, "Logs Data Model" (EventName) and "Logs SDK".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, set_span_in_context

from debbie_otel.compat.sdk_private import (
    BatchLogRecordProcessor,
    LoggerProvider,
    LogRecord,
    LogRecordExporter,
    LogRecordExportResult,
    ReadableLogRecord,
    SeverityNumber,
    waiting_records,
)
from debbie_otel.telemetry.attributes import AttributeValue
from debbie_otel.telemetry.export.files import log_line
from debbie_otel.telemetry.export.lines_file import LinesFile

_logger = logging.getLogger(__name__)

LogSeverity = Literal["INFO", "WARN", "ERROR"]


class LogEvent(msgspec.Struct, frozen=True):
    """A log event.

    Attributes:
        name: EventName of the record.
        severity: SeverityText; its number follows.
        body: A sentence for people.
        attributes: For machines.
        time_ns: When it happened, in nanoseconds since the epoch.
        span: Context of the span that it belongs to.

    """

    name: str
    severity: LogSeverity
    body: str
    attributes: Mapping[str, AttributeValue]
    time_ns: int
    span: SpanContext | None = None

    def record(self) -> LogRecord:
        """Return it as the API's loggers take it."""
        # Never the caller's current span, which is another program's.
        span = INVALID_SPAN if self.span is None else NonRecordingSpan(self.span)
        return LogRecord(
            timestamp=self.time_ns,
            context=set_span_in_context(span, Context()),
            severity_text=self.severity,
            severity_number=SeverityNumber[self.severity],
            body=_clean(self.body),
            attributes={key: _clean(value) for key, value in self.attributes.items()},
            event_name=self.name,
        )


class RescuingExporter(LogRecordExporter):
    """Writes to a file what another exporter could not deliver.

    Args:
        exporter: Delivers, and may retry as it likes.
        file: For what it gives up.

    """

    def __init__(self, exporter: LogRecordExporter, file: LinesFile) -> None:
        self._exporter = exporter
        self._file = file
        self._under_way: list[ReadableLogRecord] = []
        self._lock = threading.Lock()  # a failure and `rescue` must not write the same twice
        self._ended = False  # all that was left is in the file
        self._shut_down = False
        self._told = False
        self.failures = 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Deliver one batch, or keep it in the file."""
        with self._lock:
            if self._ended:
                return LogRecordExportResult.FAILURE
            self._under_way = list(batch)
        result = LogRecordExportResult.FAILURE
        try:
            if not self._shut_down:
                result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001 - an exporter's fault must not lose the batch
            _logger.debug("log export: %r", error)
        with self._lock:
            kept, self._under_way = self._under_way, []
            if result is not LogRecordExportResult.SUCCESS:
                self.failures += 1
                self._write(kept)
        return result

    def rescue(self, waiting: Iterable[ReadableLogRecord]) -> None:
        """Write what is under way and what still waits, and end; does not wait for anybody."""
        with self._lock:
            self._ended = True
            kept, self._under_way = [*self._under_way, *waiting], []
            self._write(kept)
        self.shutdown()

    def shutdown(self) -> None:
        """End the exporter, once; that cuts off what it is at."""
        if not self._shut_down:
            self._shut_down = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the exporter send what it buffers."""
        return bool(self._exporter.force_flush(timeout_millis))

    def _write(self, records: list[ReadableLogRecord]) -> None:
        if not records:
            return
        written = self._file.append(log_line(records))
        if not self._told:
            self._told = True
            text = "log events cannot be delivered; they are in %s"
            _logger.warning(text if written else "log events are lost: neither sent nor in %s",
                            self._file.path)  # fmt: skip


class _Events(msgspec.Struct, frozen=True):
    """What one service's log events leave through."""

    provider: LoggerProvider
    ways: list[tuple[BatchLogRecordProcessor, RescuingExporter]]


class LogEvents:
    """Emits log events; a service's provider is made with its first one.

    Args:
        exporters: Makes the exporters of a provider; none of them switches log events off.
        resource: Returns the resource of a service.
        scope: Who writes them.
        spool_dir: For what could not be delivered.

    """

    def __init__(
        self,
        exporters: Callable[[], list[LogRecordExporter]],
        resource: Callable[[str], Resource],
        scope: InstrumentationScope,
        spool_dir: Path,
    ) -> None:
        self._exporters = exporters
        self._resource = resource
        self._scope = scope
        self._file = LinesFile(spool_dir, "logs")
        self._services: dict[str, _Events] = {}

    def emit(self, service_name: str, event: LogEvent) -> None:
        """Emit a log event; does not wait.

        Args:
            service_name: As in `Pipeline.meter`.
            event: What happened.

        """
        scope = self._scope
        events = self._of(service_name)
        if events.ways:
            logger = events.provider.get_logger(scope.name, scope.version, scope.schema_url)
            logger.emit(event.record())

    def flushes(self) -> list[Callable[[], bool]]:
        """Return what sends everything now, each to be called on a thread of its own."""
        return [
            partial(_flush, processor, exporter)
            for events in self._services.values()
            for processor, exporter in events.ways
        ]

    def shutdowns(self) -> list[Callable[[], None]]:
        """Return what ends the providers, each to be called on a thread of its own."""
        return [events.provider.shutdown for events in self._services.values()]

    def rescue(self) -> None:
        """Write what the shutdowns could not deliver in time; does not wait."""
        for events in self._services.values():
            for processor, exporter in events.ways:
                exporter.rescue(waiting_records(processor))

    def _of(self, service_name: str) -> _Events:
        resource = self._resource(service_name)
        name = str(resource.attributes[SERVICE_NAME])
        events = self._services.get(name)
        if events is None:
            events = _Events(LoggerProvider(resource, shutdown_on_exit=False), [])
            for exporter in self._exporters():
                rescuing = RescuingExporter(exporter, self._file)
                processor = BatchLogRecordProcessor(rescuing)
                events.provider.add_log_record_processor(processor)
                events.ways.append((processor, rescuing))
            self._services[name] = events
        return events


def _flush(processor: BatchLogRecordProcessor, exporter: RescuingExporter) -> bool:
    """Flush; the SDK's own word for it is True, whatever became of the records."""
    failures = exporter.failures
    return processor.force_flush() and exporter.failures == failures


def _clean(value: AttributeValue) -> Any:
    """Return text that UTF-8 can hold: lone surrogates would cost the whole batch."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
