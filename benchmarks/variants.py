"""Which programs in the middle are compared. A new one is a new entry in `VARIANTS`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import nginx
from benchmarks.processes import python

DIRECT = "direct"


class NotInstalledError(Exception):
    """A variant cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class Place:
    """Where a program runs: its ports on 127.0.0.1 and a directory of its own.

    `receiver` is the URL of the OTLP receiver, `otlp` the protocol it speaks (grpc or http).
    """

    port: int
    upstream: int
    directory: Path
    receiver: str = ""
    otlp: str = "grpc"


@dataclass(frozen=True)
class Variant:
    """A program in the middle.

    Attributes:
        name: As in the table and for `--only`.
        command: Gives its command line; None where the load goes straight to the server.
        telemetry: Whether it must export one span or more per call.
        environment: Gives its variables on top of ours; None removes one.

    """

    name: str
    command: Callable[[Place], list[str]] | None
    telemetry: bool = False
    environment: Callable[[Place], Mapping[str, str | None]] = field(default=lambda _place: {})


def _relay(place: Place) -> list[str]:
    return python("benchmarks.relay", place.port, f"ws://127.0.0.1:{place.upstream}/")


def _nginx(place: Place) -> list[str]:
    program = nginx.find()
    if program is None:
        raise NotInstalledError("not installed")
    return nginx.command(program, place.port, place.upstream, place.directory)


def debbie_arguments(place: Place) -> list[str]:
    """Return the arguments of `python` that run the proxy with full telemetry."""
    return [
        *("-m", "debbie_otel", "proxy"),
        *("--upstream", f"ws://127.0.0.1:{place.upstream}"),
        *("--listen", f"127.0.0.1:{place.port}"),
        *("--dialect", "generic"),
        *("--otlp", place.receiver),
    ]


def debbie_environment(place: Place) -> dict[str, str | None]:
    """Return variables that make every round hold its share of the export.

    The delays are shorter than OpenTelemetry's defaults (5 s and 60 s), which costs more, not less.
    """
    return {
        # The caller's own settings would make runs differ.
        **{name: None for name in os.environ if name.startswith("OTEL_")},
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if place.otlp == "grpc" else "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        # What it writes goes where the run's other files go.
        "XDG_DATA_HOME": str(place.directory),
        "XDG_STATE_HOME": str(place.directory),
    }


def _debbie(place: Place) -> list[str]:
    return [sys.executable, *debbie_arguments(place)]


def _telemetry(place: Place) -> list[str]:
    """Return debbie with full telemetry and without the detector."""
    config = place.directory / "telemetry.toml"
    config.write_text("[detection]\nenabled = false\n")
    return [*_debbie(place), "--config", str(config)]


VARIANTS: tuple[Variant, ...] = (
    Variant(DIRECT, None),
    Variant("relay", _relay),
    Variant("nginx", _nginx),
    Variant("telemetry", _telemetry, telemetry=True, environment=debbie_environment),
    Variant("debbie", _debbie, telemetry=True, environment=debbie_environment),
)


@dataclass(frozen=True)
class Shape:
    """What is sent: messages of `size` bytes, `window` of them in flight per connection."""

    size: int
    connections: int
    window: int

    @property
    def name(self) -> str:
        """As in the table: size, connections, in flight."""
        size = f"{self.size // 1024} KiB" if self.size >= 1024 else f"{self.size} B"
        return f"{size}, {self.connections} x {self.window}"


SHAPES: tuple[Shape, ...] = (
    Shape(256, 16, 16),
    Shape(16384, 16, 16),
    Shape(256, 1, 1),
    Shape(16384, 1, 1),
)
