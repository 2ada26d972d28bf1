"""One service per dialect: where its spans and measurements go.

`service.name` is `<dialect>-agent` unless the user chose one, and a connection's dialect may be
known only by its first message; so services are made when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from debbie_otel import semconv
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.telemetry.aggregate import Histograms, Sums, named
from debbie_otel.telemetry.connection_spans import ConnectionFacts, RecorderOptions
from debbie_otel.telemetry.instruments import AlertInstruments, Instruments, OpenCalls
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.recorder import Recorder
from debbie_otel.telemetry.spans import SpanSink
from debbie_otel.telemetry.traces import Traces


class Outlet(Protocol):
    """Takes the telemetry of services out of the process: a `Pipeline`, or the program's providers.

    `Pipeline` tells of the arguments.
    """

    def writer(self, service_name: str) -> SpanSink:
        """Return where the spans of a service go."""

    def meter(self, service_name: str) -> Meter:
        """Return the meter of a service."""

    def add_histograms(self, service_name: str, histograms: Iterable[Histograms]) -> None:
        """Export histograms of our own with the metrics of a service."""

    def emit_event(self, service_name: str, event: LogEvent) -> None:
        """Emit a log event."""


class Service(msgspec.Struct, frozen=True):
    """Where the telemetry of one dialect goes."""

    name: str
    writer: SpanSink
    instruments: Instruments
    alerts: AlertInstruments


class TelemetryHub:
    """Makes services on the pipeline.

    Args:
        pipeline: Where everything leaves.
        options: How events become spans.
        method_limit: Names per metric attribute that are told apart.
        open_calls: Counts the requests of a dialect that wait for an answer.
        agent_memory: Bytes of the agent's process; 0 where none is watched.
        traces: Of the sessions so far; a new one if there were none.

    Attributes:
        traces: Those, shared by all recorders.

    """

    def __init__(
        self,
        pipeline: Outlet,
        options: RecorderOptions,
        method_limit: int,
        open_calls: Callable[[str], OpenCalls],
        agent_memory: Callable[[], int] = lambda: 0,
        traces: Traces | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.options = options
        self.traces = Traces() if traces is None else traces
        self._method_limit = method_limit
        self._open_calls = open_calls
        self._agent_memory = agent_memory
        self._services: dict[str, Service] = {}
        self._failures = Sums(named(semconv.ERROR_TYPE))

    def service(self, dialect: Dialect) -> Service:
        """Return the service of a dialect."""
        service = self._services.get(dialect.name)
        if service is None:
            service = self._services[dialect.name] = self._make(dialect)
        return service

    def recorder(self, dialect: Dialect, facts: ConnectionFacts) -> Recorder:
        """Return what records the events of a connection, as long as it speaks a dialect."""
        service = self.service(dialect)
        return Recorder(service.writer, service.instruments, self.traces, self.options, facts)

    def named(self, dialect: str | None) -> Service | None:
        """Return the service of a dialect if there is one yet; any for None."""
        if dialect is None:
            return next(iter(self._services.values()), None)
        return self._services.get(dialect)

    def count_failure(self, place: str) -> None:
        """Count a failure of our own; the first service reports them, as they belong to none."""
        self._failures.add((place,))

    def _memory(self, _: CallbackOptions) -> Iterable[Observation]:
        current = self._agent_memory()
        return [Observation(current)] if current else []

    def _make(self, dialect: Dialect) -> Service:
        name = f"{dialect.name}-agent"
        pipeline = self.pipeline
        instruments = Instruments(
            dialect.name,
            mcp=dialect.document.rpc_system == "mcp",
            methods={*dialect.on_message, *dialect.on_response},
            limit=self._method_limit,
            open_calls=lambda: self._open_calls(dialect.name),
        )
        alerts = AlertInstruments(self._method_limit)
        meter = pipeline.meter(name)
        instruments.register(meter)
        alerts.register(meter)
        if not self._services:
            meter.create_observable_counter(
                semconv.METRIC_INSPECTION_ERRORS,
                [self._failures],
                "{error}",
                "Failures of our own; the wire goes on.",
            )
            meter.create_observable_gauge(
                semconv.METRIC_AGENT_MEMORY,
                [self._memory],
                "By",
                "Resident memory of the agent's process and its children.",
            )
        pipeline.add_histograms(name, [*instruments.histograms, *alerts.histograms])
        return Service(name, pipeline.writer(name), instruments, alerts)
