"""Debbie's own health as metrics: what it costs, and whether its telemetry gets out.

All of it is read when a metric reader collects, on the reader's thread; nothing here is called
for a message. The metrics belong to a service of their own, which is there before the first agent
is, so that silence can be told from absence.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from debbie_otel import semconv

_SIGNALS = ("traces", "metrics", "logs")  # as the files of the spool are called

Observations = Iterable[Observation]


class ExportState(msgspec.Struct, frozen=True):
    """The export of spans: how many wait and can wait, and the others by their outcome.

    Attributes:
        failures: Exports that failed; their spans were sent again.

    """

    queued: int = 0
    capacity: int = 0
    delivered: int = 0
    dropped: int = 0
    spooled: int = 0
    failures: int = 0


class Connections(msgspec.Struct, frozen=True):
    """Connections of clients: open now, and all since the start by their outcome.

    Attributes:
        refused: Too many were open.
        unreachable: The upstream did not accept.

    """

    active: int = 0
    accepted: int = 0
    refused: int = 0
    unreachable: int = 0


class LoopProbe:
    """Seconds that the event loop takes to come to something new, asked at each collection.

    A collection never waits for the loop: it reports the answer to the question of the one before,
    or for how long there has been none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: float | None = None
        self._lag = 0.0
        self._ask()

    def __call__(self, _: CallbackOptions) -> Observations:
        """Return what an observable instrument asks for."""
        asked = self._asked
        if asked is not None:
            return [Observation(time.perf_counter() - asked)]
        lag = self._lag
        self._ask()
        return [Observation(lag)]

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        if self._asked is not None:
            self._lag = time.perf_counter() - self._asked
            self._asked = None


class Health:
    """Offers Debbie's own metrics to a meter.

    Args:
        export: Tells the state of the export.
        spool: Directory of what could not be delivered.

    Attributes:
        connections: Tells of the connections; set by the listener.
        running: Set to False before the last collection, so that an end that was asked for can be
            told from one that was not.

    """

    def __init__(self, export: Callable[[], ExportState], spool: Path) -> None:
        self.connections: Callable[[], Connections] = Connections
        self.running = True
        self._export = export
        self._spool = spool
        self._process = psutil.Process()
        self._started = time.monotonic()
        self._registered = False

    def register(self, meter: Meter, loop: asyncio.AbstractEventLoop) -> None:
        """Offer the metrics to a meter, the first time this is called.

        Args:
            meter: Of Debbie's own service.
            loop: The event loop whose lag is measured.

        """
        if self._registered:
            return
        self._registered = True
        self._register_process(meter, loop)
        self._register_export(meter)
        meter.create_observable_counter(
            semconv.METRIC_CONNECTIONS,
            [self._connection_counts],
            "{connection}",
            "Connections of clients.",
        )
        meter.create_observable_up_down_counter(
            semconv.METRIC_CONNECTIONS_ACTIVE,
            [lambda _: [Observation(self.connections().active)]],
            "{connection}",
            "Open.",
        )

    def _register_process(self, meter: Meter, loop: asyncio.AbstractEventLoop) -> None:
        gauge = meter.create_observable_gauge
        meter.create_observable_counter(
            semconv.METRIC_PROCESS_CPU, [self._cpu], "s", "CPU time of Debbie's process."
        )
        meter.create_observable_up_down_counter(
            semconv.METRIC_PROCESS_MEMORY,
            [lambda _: [Observation(self._process.memory_info().rss)]],
            "By",
            "Resident memory of Debbie's process.",
        )
        gauge(
            semconv.METRIC_PROCESS_RUNNING,
            [lambda _: [Observation(int(self.running))]],
            "{process}",
            "1 while Debbie runs, 0 in its last export.",
        )
        gauge(
            semconv.METRIC_PROCESS_UPTIME,
            [lambda _: [Observation(time.monotonic() - self._started)]],
            "s",
            "Since the start.",
        )
        gauge(
            semconv.METRIC_LOOP_LAG,
            [LoopProbe(loop)],
            "s",
            "How long the event loop takes to come to something new.",
        )

    def _register_export(self, meter: Meter) -> None:
        level = meter.create_observable_up_down_counter
        level(
            semconv.METRIC_EXPORT_QUEUE,
            [lambda _: [Observation(self._export().queued)]],
            "{span}",
            "Spans that wait for their export.",
        )
        level(
            semconv.METRIC_EXPORT_CAPACITY,
            [lambda _: [Observation(self._export().capacity)]],
            "{span}",
            "Spans that can wait.",
        )
        level(semconv.METRIC_SPOOL_SIZE, [self._spool_sizes], "By", "Files of the spool.")
        meter.create_observable_counter(
            semconv.METRIC_EXPORT_SPANS, [self._span_counts], "{span}", "Spans by their outcome."
        )
        meter.create_observable_counter(
            semconv.METRIC_EXPORT_FAILURES,
            [lambda _: [Observation(self._export().failures)]],
            "{export}",
            "Exports of spans that failed and were repeated.",
        )

    # -- on the reader's thread --------------------------------------------------------------

    def _cpu(self, _: CallbackOptions) -> Observations:
        times = self._process.cpu_times()
        return [
            Observation(times.user, {semconv.CPU_MODE: "user"}),
            Observation(times.system, {semconv.CPU_MODE: "system"}),
        ]

    def _span_counts(self, _: CallbackOptions) -> Observations:
        state = self._export()
        return _by(
            semconv.EXPORT_OUTCOME,
            {"delivered": state.delivered, "dropped": state.dropped, "spooled": state.spooled},
        )

    def _connection_counts(self, _: CallbackOptions) -> Observations:
        seen = self.connections()
        return _by(
            semconv.CONNECTION_OUTCOME,
            {
                "accepted": seen.accepted,
                "refused": seen.refused,
                "upstream_unreachable": seen.unreachable,
            },
        )

    def _spool_sizes(self, _: CallbackOptions) -> Observations:
        return _by(
            semconv.EXPORT_SIGNAL,
            {signal: sum(map(_size, self._spool.glob(f"{signal}*.jsonl"))) for signal in _SIGNALS},
        )


def _by(attribute: str, values: dict[str, int]) -> Observations:
    return [Observation(value, {attribute: name}) for name, value in values.items()]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # rotated away since it was listed
        return 0
