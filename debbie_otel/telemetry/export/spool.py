"""Reliable delivery of spans around any SpanExporter.

The SDK's BatchSpanProcessor loses what it could not export within seconds, and its shutdown waits
for the exporter however long that takes. Here a batch is kept until it has been delivered; the
queue is bounded, and the oldest spans go when it is full; and at shutdown whatever is left when
the time is up is written to a file. Delivery is at least once: a batch whose answer did not come
in time may be both at the receiver and in the file.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
)
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.export.files import FileSpanExporter
from debbie_otel.telemetry.export.span_exporter import DirectSpanExporter, ExportProblem
from debbie_otel.telemetry.spans import OpenSpan

_logger = logging.getLogger(__name__)

Batch = list[OpenSpan]

_LAST_CHANCE = 1.0
"""Seconds at shutdown for a receiver that has been failing; one that works gets more."""

_WRITING = 0.3
"""Share of the time at shutdown that is kept for writing the file."""


class SpoolOptions(msgspec.Struct, frozen=True):
    """How much is kept, and when it is sent.

    Attributes:
        queue: Spans that wait at most; about 3 KB each.
        batch: Spans in one export at most; four times the SDK's, as every request has its price.
        delay: Seconds after which also less than a batch is sent.
        first_retry: Seconds before the first repetition; doubles up to `last_retry`.
        refusals: Attempts at a batch that the receiver refuses, before it goes to the file.

    """

    queue: int = 65536
    batch: int = 2048
    delay: float = 1.0
    first_retry: float = 0.5
    last_retry: float = 10.0
    refusals: int = 3

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> SpoolOptions:
        """Read `OTEL_BSP_*`; raise ConfigurationError for what is not a positive number."""
        options = cls()
        queue = _positive(environ, OTEL_BSP_MAX_QUEUE_SIZE, options.queue)
        return cls(
            queue=queue,
            batch=min(queue, _positive(environ, OTEL_BSP_MAX_EXPORT_BATCH_SIZE, options.batch)),
            delay=_positive(environ, OTEL_BSP_SCHEDULE_DELAY, int(options.delay * 1000)) / 1000,
        )


class SpoolCounters(msgspec.Struct):
    """Spans by their outcome; `retries` counts failed exports."""

    exported: int = 0
    dropped: int = 0
    spooled: int = 0
    retries: int = 0


class SpanSpool:
    """Queues finished spans, and delivers them once it is started.

    Args:
        directory: Where `traces.jsonl` is written with what cannot be delivered.
        options: Sizes and times.

    """

    def __init__(self, directory: Path, options: SpoolOptions | None = None) -> None:
        self.counters = SpoolCounters()
        self.file = FileSpanExporter(directory)
        self._exporter: SpanExporter | DirectSpanExporter | None = None
        self._name = "an exporter"
        self._options = options or SpoolOptions()
        self._queue: deque[OpenSpan] = deque(maxlen=self._options.queue)
        self._capacity, self._batch = self._options.queue, self._options.batch
        self._in_flight: Batch | None = None
        self._lock = threading.Lock()  # guards _in_flight and the counters, never an export
        self._idle = threading.Condition(self._lock)
        self._wake = threading.Event()  # a batch is ready, or a flush is requested
        self._flush_requested = threading.Event()  # also by the shutdown: do not wait
        self._closing = False
        self._abandoned = False
        self._failing = False
        self._full = False
        self._worker: threading.Thread | None = None

    def start(
        self, exporter: SpanExporter | DirectSpanExporter, name: str = "the collector"
    ) -> None:
        """Begin to deliver.

        Args:
            exporter: Where spans go.
            name: Of the destination, for log lines.

        """
        self._exporter = exporter
        self._name = name
        self._worker = threading.Thread(target=self._run, name="debbie-spans", daemon=True)
        self._worker.start()

    # --- the application's side ------------------------------------------------------------

    def on_end(self, span: OpenSpan) -> None:
        """Queue a span; never blocks on the exporter."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._capacity or self._closing:
            self._overflow()
            if self._closing:
                return
        queue.append(span)
        if waiting + 1 >= self._batch and not self._wake.is_set():
            self._wake.set()

    def _overflow(self) -> None:
        with self._lock:
            self.counters.dropped += 1
            first, self._full = not self._full, True
        if first and not self._closing:
            _logger.error(
                "%s spans wait for %s: the oldest are dropped from now on",
                self._capacity,
                self._name,
            )

    @property
    def queued(self) -> int:
        """Spans that wait, without the batch under way."""
        return len(self._queue)

    @property
    def capacity(self) -> int:
        """Spans that can wait."""
        return self._capacity

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send everything now; return whether it was delivered (or spooled) in time."""
        if self._worker is None:
            return self._is_idle()
        self._flush_requested.set()
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(self._is_idle, timeout_millis / 1000)

    def _is_idle(self) -> bool:
        return not self._queue and self._in_flight is None

    def shutdown(self, timeout: float = 5.0) -> None:
        """Deliver what can be delivered in time, write the rest to the file.

        Args:
            timeout: Seconds in all. It is kept also where the receiver accepts a connection and
                never answers.

        """
        if self._closing:
            return
        self._closing = True
        deadline = time.monotonic() + timeout
        patience = timeout * (1 - _WRITING)
        if self._failing:
            patience = min(patience, _LAST_CHANCE)
        self._flush_requested.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join(patience)
        with self._lock:
            self._abandoned = True
            left, self._in_flight = [*(self._in_flight or ()), *self._queue], None
            self._queue.clear()
        self._spool(left, "not delivered before the end", deadline)
        stopper = threading.Thread(target=self._stop_exporter, daemon=True)
        stopper.start()  # closing a channel waits for the call that it cancels
        stopper.join(max(0.05, deadline - time.monotonic()))

    def _stop_exporter(self) -> None:
        if self._exporter is None:
            return
        try:
            self._exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - any exporter's any fault
            _logger.debug("exporter shutdown: %r", error)

    # --- the worker ------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress_instrumentation():
            while not self._closing:
                timed_out = not self._wake.wait(self._options.delay)
                self._wake.clear()
                if self._flush_requested.is_set():
                    self._flush_requested.clear()
                    going_on = self._deliver_all()
                else:
                    # What comes while the rest is sent waits for its own time, or for a batch of
                    # its own: else a busy wire has exports of a few spans, one after the other.
                    going_on = self._deliver_queue(len(self._queue) if timed_out else 0)
                if not going_on:
                    return  # shutdown takes over what is in flight and in the queue
            self._deliver_all()

    def _deliver_all(self) -> bool:
        """Deliver until nothing waits; return False if the end came first."""
        going_on = self._deliver_queue(len(self._queue))
        while going_on and self._queue and not self._abandoned:
            going_on = self._deliver_queue(len(self._queue))
        return going_on

    def _deliver_queue(self, rest: int) -> bool:
        """Deliver the oldest `rest` spans, and all whole batches; False if the end came first."""
        while (rest > 0 or len(self._queue) >= self._batch) and not self._abandoned:
            batch = self._take()
            if not batch:
                break
            rest -= len(batch)
            if not self._deliver(batch):
                return False
            if len(self._queue) < self._capacity // 2:
                self._full = False
        with self._idle:
            self._idle.notify_all()
        return True

    def _take(self) -> Batch:
        with self._lock:
            batch: Batch = []
            if not self._abandoned:
                with contextlib.suppress(IndexError):
                    while len(batch) < self._batch:
                        batch.append(self._queue.popleft())
                self._in_flight = batch or None
            return batch

    def _deliver(self, batch: Batch) -> bool:
        """Export until delivered or refused; return False if the end came first."""
        wait, refusals = self._options.first_retry, 0
        while True:
            problem = self._export(batch)
            if problem is None:
                self._settle(batch, exported=True)
                return True
            with self._lock:
                self.counters.retries += 1
            refusals += problem.permanent
            if refusals >= self._options.refusals:
                if self._settle(batch, exported=False):
                    self._spool(batch, f"refused by {self._name} ({problem.text})")
                return True
            if self._closing:
                return False
            self._report(problem)
            pause = max(wait * random.uniform(0.8, 1.2), problem.retry_after)
            wait = min(wait * 2, self._options.last_retry)
            self._flush_requested.wait(min(pause, 60.0))
            if not self._closing:
                self._flush_requested.clear()

    def _export(self, batch: Batch) -> ExportProblem | None:
        try:
            if self._send(batch) is SpanExportResult.SUCCESS:
                return None
        except Exception as error:  # noqa: BLE001 - any exporter's any fault
            return ExportProblem(repr(error))
        problem = getattr(self._exporter, "problem", None)
        return problem if isinstance(problem, ExportProblem) else ExportProblem("failed")

    def _send(self, batch: Batch) -> SpanExportResult:
        exporter = self._exporter
        assert exporter is not None, "the worker is started with one"
        if isinstance(exporter, DirectSpanExporter):
            return exporter.export(batch)
        return exporter.export([span.readable() for span in batch])

    def _settle(self, batch: Batch, *, exported: bool) -> bool:
        """Take the batch off; return False if shutdown has taken it already."""
        with self._lock:
            if self._in_flight is not batch:
                return False
            self._in_flight = None
            if not exported:
                return True
            self.counters.exported += len(batch)
            recovered, self._failing = self._failing, False
        if recovered:
            _logger.warning("%s takes spans again; those that were kept follow", self._name)
        return True

    def _report(self, problem: ExportProblem) -> None:
        if not self._failing:
            self._failing = True
            _logger.warning(
                "%s does not take spans (%s); they are kept, up to %d, and sent again",
                self._name,
                problem.text,
                self._capacity,
            )

    # --- the file --------------------------------------------------------------------------

    def _spool(self, spans: Batch, why: str, deadline: float | None = None) -> None:
        """Write spans to the file, in lines of a batch each, and say so in one line."""
        written = 0
        for start in range(0, len(spans), self._batch):
            if deadline is not None and time.monotonic() > deadline:
                self.file.problem = ExportProblem("no time left")
                break
            part = spans[start : start + self._batch]
            if self.file.export(part) is not SpanExportResult.SUCCESS:
                break
            written += len(part)
        lost = len(spans) - written
        with self._lock:
            self.counters.spooled += written
            self.counters.dropped += lost
        path = self.file.file.path
        if written:
            _logger.warning("%d spans %s are in %s", written, why, path)
        if lost:
            text = self.file.problem.text if self.file.problem else ""
            _logger.error("%d spans %s are lost, %s: %s", lost, why, path, text)


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        raise ConfigurationError(name, f"{text!r} is not a positive whole number")
    return int(text)
