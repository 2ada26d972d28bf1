"""The way of telemetry out of the process: providers, exporters, spool, shutdown.

A `Pipeline` is built from values and owns every thread and connection of the export. Spans are
handed over finished (`on_end`), without a Tracer; metrics and log events go through an SDK
provider per service name. What the OpenTelemetry variables say is read by the SDK itself, from
`os.environ`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from debbie_otel import semconv
from debbie_otel.compat.sdk_private import LogRecordExporter
from debbie_otel.session.model import Clock
from debbie_otel.telemetry.aggregate import Histograms
from debbie_otel.telemetry.export import destination as destinations
from debbie_otel.telemetry.export.exporters import Selection
from debbie_otel.telemetry.export.files import metric_line
from debbie_otel.telemetry.export.limits import exemplars_wanted, limited, span_limits
from debbie_otel.telemetry.export.lines_file import LinesFile
from debbie_otel.telemetry.export.metric_delivery import ServiceMetrics
from debbie_otel.telemetry.export.spool import SpanSpool, SpoolCounters, SpoolOptions
from debbie_otel.telemetry.health import ExportState, Health
from debbie_otel.telemetry.logs import LogEvent, LogEvents
from debbie_otel.telemetry.spans import OpenSpan, SpanWriter

_logger = logging.getLogger(__name__)

# Log every failed export, where the spool logs changes; every attribute that is cut as asked for.
_NOISY = ("opentelemetry.exporter", "opentelemetry.attributes")
_SHUTDOWN_MARGIN = 0.2  # of the time, for writing the last metrics


class TelemetrySettings(msgspec.Struct, frozen=True):
    """What the command line and the configuration say about telemetry.

    Attributes:
        otlp: URL of `--otlp`, or None.
        service_name: `--service-name`, or None.
        data_dir: For files and for what could not be delivered; None for the platform's.
        resource: Further resource attributes.
        flush_timeout: Seconds that the end may take.
        local_collectors: What is tried when nothing is set; URLs as in `otlp`.
        tame_sdk_logs: Silence the SDK's exporters, whose failures are logged here once. Only for
            a process that is ours.

    """

    otlp: str | None = None
    service_name: str | None = None
    data_dir: Path | None = None
    resource: dict[str, str | int | float | bool] = {}
    flush_timeout: float = 5.0
    local_collectors: tuple[str, ...] = destinations.LOCAL_COLLECTORS
    tame_sdk_logs: bool = False


class ShutdownReport(msgspec.Struct, frozen=True):
    """The spans of the process by their outcome.

    Attributes:
        delivered: To the destination, in the process's whole life.
        spooled: Written to `path` because they could not be delivered.
        dropped: Lost.
        path: The spool file.
        seconds: How long the shutdown took.

    """

    delivered: int
    spooled: int
    dropped: int
    path: Path
    seconds: float


class Pipeline:
    """See the module. Nothing runs, and nothing is looked for, before `start`.

    What is handed over before waits. Ended by `shutdown`.

    Args:
        settings: What the user said.
        environ: `os.environ`, or a part of it for the choice of the destination. The SDK's parts
            read `os.environ` whatever is passed here.
        clock: Tells when Debbie's histograms are collected.

    Attributes:
        destination: Where telemetry goes, and how to look at it; known from the start on.
        sampler: As `OTEL_TRACES_SAMPLER` says; always off where no spans are exported.
        id_generator: For trace and span ids.
        scope: The instrumentation scope of Debbie's spans.
        on_end: Takes a finished span; about a microsecond, never blocks, never raises.
        health: Debbie's own metrics; exported once `report_health` was called.

    Raises:
        ConfigurationError: A setting or a variable is wrong.

    """

    def __init__(
        self,
        settings: TelemetrySettings,
        environ: Mapping[str, str],
        clock: Clock = time.time_ns,
    ) -> None:
        spool, limits = SpoolOptions.from_environ(environ), span_limits(environ)
        self._exemplars = exemplars_wanted(environ)
        self._data_dir = settings.data_dir or destinations.default_data_dir(environ)
        self._chosen = destinations.choose(settings.otlp, environ)
        self._selection = Selection(environ, self._data_dir)
        self.destination = destinations.UNDECIDED
        self.scope = our_scope()
        self._settings = settings
        self._clock = clock
        self._spool_dir = self._data_dir / "spool"
        self._spools = [SpanSpool(self._spool_dir, spool) for _ in self._selection.names("traces")]
        self.on_end = limited(_fan_out([each.on_end for each in self._spools]), limits)
        self._metrics: dict[str, ServiceMetrics] = {}
        self._logs = LogEvents(self._log_exporters, self.resource, self.scope, self._spool_dir)
        self.health = Health(self._export_state, self._spool_dir)
        self._resources: dict[str, Resource] = {}
        self._where = self.destination
        self._started = False
        self._starting = threading.Lock()  # while services may be added
        self._report: ShutdownReport | None = None
        # A provider of its own would run the spans; here it only reads the sampler's variables.
        provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
        self.sampler: Sampler = provider.sampler if self._spools else ALWAYS_OFF
        self.id_generator: IdGenerator = provider.id_generator
        self._detected: Resource | None = None
        chosen = OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
        self._chosen_name = settings.service_name or (str(chosen) if chosen else None)
        self._noise: list[_Quiet] = []

    def start(self) -> None:
        """Find the destination and begin to export; may wait for sockets, so not on a loop.

        Raises:
            ConfigurationError: There can be no exporter, or no directory.

        """
        if self._started or self._report is not None:
            return
        where = self._chosen or destinations.find(self._settings.local_collectors, self._data_dir)
        if where.kind == "files":
            destinations.require_directory(self._data_dir)
        self._detect()  # what detectors ask, they ask here
        exporters = self._selection.spans(where)
        self.destination = self._selection.described(where)
        if self._settings.tame_sdk_logs:
            self._noise = [_Quiet(name) for name in _NOISY]
        name = self.destination.where or "the exporter"
        for spool, exporter in zip(self._spools, exporters, strict=True):
            spool.start(exporter, name)
        with self._starting:
            self._where = where
            for metrics in self._metrics.values():
                self._attach(metrics)
            self._started = True

    def resource(self, service_name: str) -> Resource:
        """Return the resource of a service.

        Args:
            service_name: `service.name` where neither the user nor a variable chose one.

        """
        name = self._chosen_name or service_name
        resource = self._resources.get(name)
        if resource is None:
            resource = self._detect().merge(Resource({SERVICE_NAME: name}))
            self._resources[name] = resource
        return resource

    def _detect(self) -> Resource:
        if self._detected is None:
            self._detected = _detected(self._settings.resource)
        return self._detected

    def writer(self, service_name: str) -> SpanWriter:
        """Return what starts and ends the spans of a service."""
        resource = self.resource(service_name)
        return SpanWriter(self.on_end, resource, self.scope, self.sampler, self.id_generator)

    def meter(self, service_name: str) -> Meter:
        """Return the meter of a service, made when it is first asked for."""
        provider = self._of(service_name).provider
        return provider.get_meter(self.scope.name, self.scope.version, self.scope.schema_url)

    def add_histograms(self, service_name: str, histograms: Iterable[Histograms]) -> None:
        """Export histograms that are not the SDK's with the metrics of a service."""
        metrics = self._of(service_name)
        with self._starting:
            metrics.add_histograms(histograms)

    def emit_event(self, service_name: str, event: LogEvent) -> None:
        """Emit a log event, see `LogEvents.emit`; never blocks. Nothing before the start."""
        if self._started:
            self._logs.emit(service_name, event)

    def _of(self, service_name: str) -> ServiceMetrics:
        resource = self.resource(service_name)
        name = str(resource.attributes[SERVICE_NAME])
        with self._starting:
            if name not in self._metrics:
                self._metrics[name] = metrics = ServiceMetrics(resource)
                if self._started:
                    self._attach(metrics)
            return self._metrics[name]

    def _attach(self, metrics: ServiceMetrics) -> None:
        """Have the metrics of a service read from now on."""
        exporters = self._selection.metrics(self._where)
        metrics.attach(exporters, self._clock, exemplars=self._exemplars)

    def _log_exporters(self) -> list[LogRecordExporter]:
        return self._selection.logs(self._where)

    @property
    def counters(self) -> SpoolCounters:
        """The spans so far by their outcome, over all exporters."""
        total = SpoolCounters()
        for counters in (spool.counters for spool in self._spools):
            total.exported += counters.exported
            total.dropped += counters.dropped
            total.spooled += counters.spooled
            total.retries += counters.retries
        return total

    def report_health(self, loop: asyncio.AbstractEventLoop) -> None:
        """Export Debbie's own metrics from now on, also while no agent is there; once is enough.

        Args:
            loop: The one that passes the bytes.

        """
        self.health.register(self.meter(semconv.SERVICE_DEBBIE), loop)

    def _export_state(self) -> ExportState:
        counters = self.counters
        return ExportState(
            queued=sum(spool.queued for spool in self._spools),
            capacity=sum(spool.capacity for spool in self._spools),
            delivered=counters.exported,
            dropped=counters.dropped,
            spooled=counters.spooled,
            failures=counters.retries,
        )

    def flush(self, timeout: float) -> bool:
        """Send everything now; return whether all of it went out within `timeout` seconds."""
        millis = int(timeout * 1000)
        calls: list[Callable[[], Any]] = [
            partial(reader.force_flush, millis)
            for metrics in self._metrics.values()
            for reader in metrics.readers
        ]
        calls += [partial(spool.force_flush, millis) for spool in self._spools]
        calls += self._logs.flushes()
        return _all_within(calls, timeout)

    def shutdown(self, timeout: float | None = None) -> ShutdownReport:
        """End the export: what is left of each signal, then files for what did not get through.

        Args:
            timeout: Seconds in all, whatever the receiver does; default the settings'. Nothing
                blocks the end of the process afterwards.

        """
        if self._report is not None:
            return self._report
        started = time.monotonic()
        self.health.running = False
        seconds = self._settings.flush_timeout if timeout is None else timeout
        patience = seconds * (1 - _SHUTDOWN_MARGIN)
        calls: list[Callable[[], Any]] = [
            partial(reader.shutdown, patience * 1000)
            for metrics in self._metrics.values()
            for reader in metrics.readers
        ]
        calls += [partial(spool.shutdown, patience) for spool in self._spools]
        calls += self._logs.shutdowns()
        _all_within(calls, patience)
        self._rescue_metrics()
        self._logs.rescue()
        for noise in self._noise:
            noise.end()
        counters = self.counters
        self._report = ShutdownReport(
            counters.exported,
            counters.spooled,
            counters.dropped,
            self._spool_dir / "traces.jsonl",
            time.monotonic() - started,
        )
        return self._report

    def _rescue_metrics(self) -> None:
        """Write the last metrics to a file where the receiver did not take them."""
        file = LinesFile(self._spool_dir, "metrics")
        for metrics in self._metrics.values():
            for data in metrics.undelivered():
                if file.append(metric_line(data)):
                    _logger.warning("the last metrics, not delivered, are in %s", file.path)


def _detected(given: Mapping[str, str | int | float | bool]) -> Resource:
    try:
        return Resource.create(dict(given))
    except RuntimeError:  # its detectors run on threads, and none starts once the main one is over
        return OTELResourceDetector().detect().merge(Resource(dict(given)))


def our_scope() -> InstrumentationScope:
    """Return the instrumentation scope of all that we record."""
    return InstrumentationScope(semconv.SCOPE, _version(), semconv.SCHEMA_URL)


def _version() -> str | None:
    try:
        return version("debbie-otel")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return None


def _fan_out(sinks: Sequence[Callable[[OpenSpan], None]]) -> Callable[[OpenSpan], None]:
    if len(sinks) == 1:
        return sinks[0]

    def on_end(span: OpenSpan) -> None:
        for sink in sinks:
            sink(span)

    return on_end


def _all_within(calls: list[Callable[[], Any]], timeout: float) -> bool:
    """Call all at once, each in a thread that cannot hold up the process; wait so long."""
    results: list[bool] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            results.append(call() is not False)
        except Exception as error:  # noqa: BLE001 - the end of one must not hinder the others
            _logger.debug("flush: %r", error)
            results.append(False)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread, call in zip(threads, calls, strict=True):
        try:
            thread.start()
        except RuntimeError:  # the interpreter is about to end, and starts no thread any more
            run(call)
    deadline = time.monotonic() + timeout
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
    return len(results) == len(calls) and all(results)


class _Quiet:
    """Raises the level of a logger for a while."""

    def __init__(self, name: str) -> None:
        self._target = logging.getLogger(name)
        self._level = self._target.level
        self._target.setLevel(logging.CRITICAL)

    def end(self) -> None:
        """Restore it."""
        self._target.setLevel(self._level)
