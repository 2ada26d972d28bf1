"""`python -m benchmarks.inprocess`: what observing a connection costs inside a program.

One client sends requests over a real connection to a server in another process, plain and observed
in turns: full telemetry to a receiver in a third process, the detector on, as `debbie proxy` has
it. Counted is all the CPU time of this process, the export's threads included; an observed turn is
over when its spans have left. A message is one that was sent or received. Of several turns the
best one counts: what else the machine does empties the caches, and makes every turn dearer.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from websockets.asyncio.client import connect

from benchmarks.processes import BenchError, Program, free_port, python
from benchmarks.receiver import PROTOCOLS
from benchmarks.wire import FIRST_ID, ID_END, ID_START, METHOD, request_text
from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger

LIMIT_US = 15.0
FLUSH_SECONDS = 30.0


@dataclass(frozen=True)
class Settings:
    """What one run does.

    Attributes:
        size: Bytes of a message.
        calls: Requests of a turn, each with its answer: twice as many messages.
        turns: Of each kind.
        window: Requests under way at the same time.
        otlp: Protocol of the receiver: grpc or http.

    """

    size: int = 256
    calls: int = 3000
    turns: int = 9
    window: int = 16
    otlp: str = "grpc"


@dataclass
class Figures:
    """CPU time per message in microseconds, a value for each turn, by kind of connection."""

    plain: list[float] = field(default_factory=list)
    observed: list[float] = field(default_factory=list)
    lent: list[float] = field(default_factory=list)

    def added(self, kind: list[float]) -> float:
        """Return what a kind takes above the plain connection."""
        return min(kind) - min(self.plain)


class Talk:
    """Calls on one connection."""

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        text = request_text(settings.size)
        self._head, self._tail = text[:ID_START], text[ID_END:]
        self._next = FIRST_ID

    async def calls(self) -> None:
        """Make the calls of one turn."""
        connection, settings = self._connection, self._settings
        for _ in range(settings.calls // settings.window):
            for _ in range(settings.window):
                await connection.send(f"{self._head}{self._next}{self._tail}")
                self._next += 1
            for _ in range(settings.window):
                await connection.recv()


class Rig:
    """The server, the receiver, and the two Debbies: with its own export, and with the SDK's."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, directory: Path) -> None:
        self._settings = settings
        self._stack = stack
        self._directory = directory
        self._port, self._receiver = free_port(), free_port()

    def start(self) -> None:
        """Start the processes."""
        for name, port, command in (
            ("server", self._port, python("benchmarks.servers", self._port)),
            (
                "receiver",
                self._receiver,
                python("benchmarks.receiver", self._settings.otlp, self._receiver, METHOD),
            ),
        ):
            log = self._directory / f"{name}.log"
            program = Program(f"the {name}", command, log, talks=name == "receiver")
            self._stack.callback(program.stop)
            program.wait_listening(port)

    async def connection(self) -> Any:
        """Return a new connection."""
        url = f"ws://127.0.0.1:{self._port}/"
        return await self._stack.enter_async_context(connect(url, proxy=None, compression=None))

    async def debbie(self, **providers: Any) -> DebbieDebugger:
        """Return a Debbie as `DebbieInstrumentor` makes it: telemetry, detector, interventions."""
        scheme = "grpc" if self._settings.otlp == "grpc" else "http"
        telemetry = msgspec.structs.replace(
            Config().telemetry,
            otlp=f"{scheme}://127.0.0.1:{self._receiver}",
            data_dir=self._directory / f"data-{len(providers)}",
        )
        debbie = DebbieDebugger(Config(telemetry=telemetry), reports=False, **providers)
        return await self._stack.enter_async_context(debbie)

    def providers(self) -> tuple[TracerProvider, MeterProvider]:
        """Return providers as a program would set them up."""
        if self._settings.otlp == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            url, paths = f"http://127.0.0.1:{self._receiver}", ("", "")
        else:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # type: ignore[assignment]
                OTLPMetricExporter,
            )
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[assignment]
                OTLPSpanExporter,
            )

            url, paths = f"http://127.0.0.1:{self._receiver}", ("/v1/traces", "/v1/metrics")
        tracers = TracerProvider(shutdown_on_exit=False)
        spans = OTLPSpanExporter(endpoint=url + paths[0])
        tracers.add_span_processor(BatchSpanProcessor(spans, max_queue_size=1 << 16))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=url + paths[1]))
        meters = MeterProvider([reader], shutdown_on_exit=False)
        self._stack.callback(tracers.shutdown)
        self._stack.callback(meters.shutdown)
        return tracers, meters


async def measure(settings: Settings) -> Figures:
    """Measure."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            rig = Rig(settings, stack, Path(directory))
            rig.start()
            own = await rig.debbie()
            assert own.pipeline is not None
            tracers, meters = rig.providers()
            lent = await rig.debbie(tracer_provider=tracers, meter_provider=meters)
            plain = Talk(await rig.connection(), settings)
            observed = Talk(own.intercept_websocket(await rig.connection()), settings)
            borrowed = Talk(lent.intercept_websocket(await rig.connection()), settings)
            own_flush = partial(_flush, own, partial(own.pipeline.flush, FLUSH_SECONDS))
            lent_flush = partial(_flush, lent, tracers.force_flush)
            for turn in range(settings.turns + 1):
                kinds = (
                    (figures.plain, plain, lambda: True),
                    (figures.observed, observed, own_flush),
                    (figures.lent, borrowed, lent_flush),
                )
                for values, talk, flush in kinds:
                    spent = await _turn(talk, flush, settings)
                    if turn:  # the first one warms up
                        values.append(spent)
    return figures


def _flush(debbie: DebbieDebugger, flush: Callable[[], bool]) -> bool:
    """Have all that was seen recorded and sent, which is part of what it costs."""
    debbie.catch_up()
    return flush()


async def _turn(talk: Talk, flush: Any, settings: Settings) -> float:
    began = time.process_time_ns()
    await talk.calls()
    if not flush():
        raise BenchError("the spans did not leave in time")
    return (time.process_time_ns() - began) / 1000 / (2 * settings.calls)


def report(figures: Figures, settings: Settings) -> str:
    """Return the figures as a table."""
    rows = [("plain", figures.plain), ("observed", figures.observed), ("lent", figures.lent)]
    lines = [
        f"CPU per message ({settings.size} B, OTLP/{settings.otlp}, full telemetry, detector on):",
        f"{'connection':<12}{'µs':>8}{'added':>8}{'added for send + recv':>24}",
    ]
    for name, values in rows:
        added = figures.added(values)
        lines.append(f"{name:<12}{min(values):>8.1f}{added:>8.1f}{2 * added:>24.1f}")
    good = figures.added(figures.observed) <= LIMIT_US
    lines.append(f"limit: {LIMIT_US:g} µs added per message; {'kept' if good else 'NOT KEPT'}")
    lines.append(
        "lent: spans and measurements by TracerProvider and MeterProvider of the program's"
    )
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--size", default=Settings.size, help="Bytes of a message.")
@click.option("--calls", default=Settings.calls, help="Requests of a turn.")
@click.option("--turns", default=Settings.turns, help="Turns of each kind.")
@click.option("--window", default=Settings.window, help="Requests under way at the same time.")
@click.option("--otlp", default=Settings.otlp, type=click.Choice(PROTOCOLS), help="Receiver.")
def main(size: int, calls: int, turns: int, window: int, otlp: str) -> None:
    """Measure and print; exit code 1 if the limit is not kept."""
    settings = Settings(size=size, calls=calls, turns=turns, window=window, otlp=otlp)
    figures = asyncio.run(measure(settings))
    click.echo(report(figures, settings))
    sys.exit(figures.added(figures.observed) > LIMIT_US)


if __name__ == "__main__":
    main()
