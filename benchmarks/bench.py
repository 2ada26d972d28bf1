"""`python -m benchmarks.bench`: what a program in the middle costs, side by side in one run.

All variants run from the start; each round takes every shape, and every variant under it, in turn,
so that noise of the machine hits all alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

from benchmarks import load, nginx
from benchmarks.processes import BenchError, Cores, Program, free_port, python
from benchmarks.receiver import PROTOCOLS
from benchmarks.report import Report, Round
from benchmarks.variants import SHAPES, VARIANTS, NotInstalledError, Place, Shape, Variant
from benchmarks.wire import METHOD, WireError

_IDLE_WARM_UP = 20


@dataclass(frozen=True)
class Settings:
    """What one run does.

    Attributes:
        seconds: Timed seconds of each variant under each shape in each round.
        warm_up: Untimed seconds before them.
        rounds: How often.
        idle: Connections with which memory is measured; 0 for not at all.
        otlp: Protocol of the receiver: grpc or http.
        export_timeout: Seconds that the last spans of a measurement may take to be received.

    """

    seconds: float = 2.0
    warm_up: float = 0.3
    rounds: int = 3
    idle: int = 500
    otlp: str = "grpc"
    export_timeout: float = 20.0


class Middle:
    """A variant that runs, and its receiver where it exports telemetry."""

    def __init__(self, variant: Variant, port: int) -> None:
        self.variant = variant
        self.port = port
        self.program: Program | None = None
        self.receiver: Program | None = None
        self._calls = 0

    def start(
        self, stack: contextlib.ExitStack, cores: Cores, upstream: int, directory: Path, otlp: str
    ) -> None:
        """Start what it consists of; `stack` ends it.

        Raises:
            NotInstalledError: The program is not on this machine.
            BenchError: It does not run.

        """
        name, command = self.variant.name, self.variant.command
        if command is None:
            self.port = upstream
            return
        receiver_port = free_port()
        url = f"http://127.0.0.1:{receiver_port}"
        files = directory / name
        files.mkdir()
        place = Place(self.port, upstream, files, url, otlp)
        line = command(place)
        if self.variant.telemetry:
            self.receiver = Program(
                f"the receiver of {name}",
                python("benchmarks.receiver", otlp, receiver_port, METHOD),
                directory / f"{name}-receiver.log",
                talks=True,
            )
            stack.callback(self.receiver.stop)
            self.receiver.wait_listening(receiver_port)
        with cores.as_middle():
            self.program = Program(
                name, line, directory / f"{name}.log", self.variant.environment(place)
            )
        stack.callback(self.program.stop)
        self.program.wait_listening(self.port)

    async def measure(self, shape: Shape, settings: Settings) -> Round:
        """Put one shape of load through it.

        CPU is counted from the first request until the last call's span has been received, so that
        telemetry which is exported late is not free.
        """
        async with load.connections(self.port, shape.connections) as opened:
            before = self.program.cpu_seconds() if self.program else 0.0
            sample = await load.run(
                opened, shape.size, shape.window, settings.warm_up, settings.seconds
            )
            await self.exported(sample.round_trips, settings)
            used = self.program.cpu_seconds() - before if self.program else None
        if not sample.timed:
            raise BenchError(f"{self.variant.name}: no answer within the time measured")
        return Round(
            None if used is None else used / sample.round_trips * 1e6,
            sample.timed / sample.seconds,
            sample.latency(0.50) * 1e6,
            sample.latency(0.99) * 1e6,
        )

    async def idle_bytes(self, settings: Settings) -> float | None:
        """Return the resident bytes per connection, of many that made one call each."""
        if self.program is None:
            return None
        # The first connections pay for what is loaded once; they stay, so that the others cannot
        # move into the memory that they would leave.
        async with load.connections(self.port, _IDLE_WARM_UP) as first:
            await self._call_once(first, settings)
            before = self.program.resident_bytes()
            async with load.connections(self.port, settings.idle) as opened:
                await self._call_once(opened, settings)
                return (self.program.resident_bytes() - before) / settings.idle

    async def _call_once(self, opened: list[load.LoadConnection], settings: Settings) -> None:
        sample = await load.run(opened, SHAPES[0].size, window=1, warm_up=0, seconds=0)
        await self.exported(sample.round_trips, settings)

    async def exported(self, calls: int, settings: Settings) -> None:
        """Wait until `calls` more have been received as spans.

        Raises:
            BenchError: They have not: a proxy that exports nothing is no measurement.

        """
        if self.receiver is None:
            return
        self._calls += calls
        deadline = time.monotonic() + settings.export_timeout
        while (received := self.receiver.ask("count")["calls"]) < self._calls:
            if time.monotonic() > deadline:
                assert self.program is not None
                raise BenchError(
                    f"{self.variant.name}: {self._calls:,} calls were made, but only {received:,}"
                    f" came as spans of {METHOD!r} at the receiver\n{self.program.log_tail()}"
                )
            await asyncio.sleep(0.05)


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for package in ("websockets", "opentelemetry-sdk", "debbie-otel"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {**found, "nginx": nginx.version() or "not installed"}


def run(
    settings: Settings,
    variants: Sequence[Variant],
    shapes: Sequence[Shape] = SHAPES,
    progress: Callable[[str], None] = lambda _text: None,
) -> Report:
    """Run the benchmark.

    Raises:
        BenchError: A program does not run, or less telemetry arrived than there were calls.

    """
    cores = Cores()
    report = Report(versions(), {"cores": cores.text, **vars(settings)})
    with contextlib.ExitStack() as stack:
        stack.callback(cores.release)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = free_port()
        server = Program(
            "the echo server", python("benchmarks.servers", upstream), directory / "server.log"
        )
        stack.callback(server.stop)
        server.wait_listening(upstream)
        middles = []
        for variant in variants:
            middle = Middle(variant, free_port())
            try:
                middle.start(stack, cores, upstream, directory, settings.otlp)
            except NotInstalledError as missing:
                report.skipped[variant.name] = str(missing)
            else:
                middles.append(middle)
        asyncio.run(_measure(report, middles, shapes, settings, progress))
        for middle in middles:
            if middle.receiver is not None:
                report.exported[middle.variant.name] = middle.receiver.ask("count")
    return report


async def _measure(
    report: Report,
    middles: Sequence[Middle],
    shapes: Sequence[Shape],
    settings: Settings,
    progress: Callable[[str], None],
) -> None:
    for middle in middles if settings.idle else ():
        with _named(middle):
            size = await middle.idle_bytes(settings)
        if size is not None:
            report.memory[middle.variant.name] = size
    for number in range(settings.rounds):
        progress(f"round {number + 1} of {settings.rounds}")
        # Another one goes first in every round.
        first = number % len(middles)
        for shape in shapes:
            results = report.rounds.setdefault(shape.name, {m.variant.name: [] for m in middles})
            for middle in [*middles[first:], *middles[:first]]:
                with _named(middle):
                    results[middle.variant.name].append(await middle.measure(shape, settings))


@contextlib.contextmanager
def _named(middle: Middle) -> Iterator[None]:
    try:
        yield
    except (WireError, OSError) as error:
        tail = middle.program.log_tail() if middle.program else ""
        raise BenchError(f"{middle.variant.name}: {error!r}\n{tail}") from error


def _chosen(names: Sequence[str]) -> list[Variant]:
    wanted = [name for text in names for name in text.split(",")]
    known = {variant.name: variant for variant in VARIANTS}
    for name in wanted:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--only")
    return [variant for name, variant in known.items() if not wanted or name in wanted]


@click.command(help=__doc__)
@click.option("--seconds", default=2.0, show_default=True, help="Timed seconds per measurement.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds.")
@click.option("--idle", default=500, show_default=True, help="Idle connections for the memory.")
@click.option(
    "--only", multiple=True, metavar="NAMES", help="Variants: direct,relay,nginx,telemetry,debbie."
)
@click.option("--otlp-protocol", default="grpc", show_default=True, type=click.Choice(PROTOCOLS))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all of it here.")
def main(
    seconds: float,
    rounds: int,
    idle: int,
    only: tuple[str, ...],
    otlp_protocol: str,
    json_file: Path | None,
) -> None:
    settings = Settings(seconds=seconds, rounds=rounds, idle=idle, otlp=otlp_protocol)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that our programs end with us
    try:
        report = run(settings, _chosen(only), progress=lambda text: click.echo(text, err=True))
    except BenchError as error:
        click.echo(f"benchmark failed: {error}", err=True)
        sys.exit(1)
    click.echo(report.as_text())
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


if __name__ == "__main__":
    main()
