"""SharedState: what is kept across stop and start of one Debbie."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial

import msgspec
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from debbie_otel.app.ingest_queue import IngestQueue
from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.detection.control_metrics import DetectorReader
from debbie_otel.detection.memory import MemoryWatch
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.attempt import Strategy
from debbie_otel.session.dialect.registry import Dialects
from debbie_otel.session.model import Clock
from debbie_otel.session.record import SessionRecords
from debbie_otel.telemetry.traces import Traces


class SharedState(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """State that is kept across stop and start.

    Attributes:
        monitor: With its subscribers.
        records: What its sessions lately did; kept once something needs it.
        guard: What happens when Debbie's own code fails.
        clock: Tells the time.
        dialects: That connections may speak.
        memory: Watches the agent's process.
        environ: Where the `OTEL_*` variables are read.
        telemetry: Whether anything is recorded.
        own_process: Whether the process is Debbie's alone.
        tracer, meter: Providers that were passed; None for the global ones, or Debbie's own export.
        strategies: The user's own, by name.
        readers: Of the user's metrics, attached to the user's providers.
        queue: Of all interceptors whose messages may come on any thread.
        name: Of this Debbie, in the names of connections.
        numbers: Of connections.
        traces: Of sessions, which may be resumed.

    """

    monitor: DebbieMonitor
    records: SessionRecords
    guard: FailOpen
    clock: Clock
    dialects: Dialects
    memory: MemoryWatch
    environ: Mapping[str, str]
    telemetry: bool
    own_process: bool
    tracer: TracerProvider | None
    meter: MeterProvider | None
    name: str
    strategies: dict[str, Strategy] = msgspec.field(default_factory=dict)
    readers: list[DetectorReader] = msgspec.field(default_factory=list)
    queue: IngestQueue = msgspec.field(default_factory=IngestQueue)
    numbers: itertools.count[int] = msgspec.field(default_factory=partial(itertools.count, 1))
    traces: Traces = msgspec.field(default_factory=Traces)
