"""Which exporters there are: what `OTEL_*_EXPORTER` names, on the way that was chosen.

`otlp`, the default, goes where the `Destination` says, files included; other names are looked up
among the installed exporters, as every OpenTelemetry program does. Source: OpenTelemetry
specification, "Environment Variable Specification", "Exporter Selection".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from opentelemetry.environment_variables import (
    OTEL_LOGS_EXPORTER,
    OTEL_METRICS_EXPORTER,
    OTEL_TRACES_EXPORTER,
)
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.sdk.environment_variables import OTEL_CONFIG_FILE
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
from opentelemetry.sdk.trace.export import SpanExporter

from debbie_otel.compat.sdk_private import LogRecordExporter, log_exporter
from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.export.destination import Destination, Protocol, is_disabled
from debbie_otel.telemetry.export.files import (
    FileLogExporter,
    FileMetricExporter,
    FileSpanExporter,
)
from debbie_otel.telemetry.export.otlp_exporters import GrpcSpanExporter, HttpSpanExporter
from debbie_otel.telemetry.export.span_exporter import DirectSpanExporter

_T = TypeVar("_T")

_VARIABLES = {
    "traces": OTEL_TRACES_EXPORTER,
    "metrics": OTEL_METRICS_EXPORTER,
    "logs": OTEL_LOGS_EXPORTER,
}


class Selection:
    """The exporters of each signal.

    Args:
        environ: Where the variables are read.
        data_dir: For files.

    Raises:
        ConfigurationError: A variable names an exporter that is not installed.

    """

    def __init__(self, environ: Mapping[str, str], data_dir: Path) -> None:
        self._data_dir = data_dir
        off = is_disabled(environ)
        self._names = {s: [] if off else _names(environ.get(v, "")) for s, v in _VARIABLES.items()}
        self._config_file = environ.get(OTEL_CONFIG_FILE, "").strip()
        # Those of metrics and logs are made later; that they exist has to be told at the start.
        for signal, names in self._names.items():
            for name in names:
                if name != "otlp":
                    _load(name, signal)

    def names(self, signal: str) -> list[str]:
        """Return the names of a signal's exporters."""
        return self._names[signal]

    def described(self, where: Destination) -> Destination:
        """Return the destination, with what the variables change about it."""
        traces = self._names["traces"]
        by_otlp = f"{self._data_dir / 'traces.jsonl'}" if where.kind == "files" else where.where
        changes = [
            f"{signal.capitalize()} go to {' and '.join(names)} ({_VARIABLES[signal]})."
            if names
            else f"{signal.capitalize()} are off ({_VARIABLES[signal]})."
            for signal, names in self._names.items()
            if names != ["otlp"] and where.kind != "disabled"
        ]
        if self._config_file:
            changes.append(f"{OTEL_CONFIG_FILE} is not read; the other variables are.")
        # Where no spans are, the hint would send people to look for them.
        hints = [where.hint] if where.kind != "files" or "otlp" in traces else []
        return msgspec.structs.replace(
            where,
            hint=" ".join(changes + hints),
            spans=" and ".join(by_otlp if name == "otlp" else name for name in traces),
        )

    def spans(self, where: Destination) -> list[SpanExporter | DirectSpanExporter]:
        """Make the exporters of spans.

        Raises:
            ConfigurationError: A variable is wrong.

        """
        kinds = FileSpanExporter, GrpcSpanExporter, HttpSpanExporter
        return self._make("traces", where, SpanExporter, kinds)

    def metrics(self, where: Destination) -> list[MetricExporter | MetricReader]:
        """Make exporters of metrics, or readers, as they may be; raise as `spans`."""
        over_grpc, over_http = grpc_metrics.OTLPMetricExporter, http_metrics.OTLPMetricExporter
        kinds = FileMetricExporter, over_grpc, over_http
        return self._make("metrics", where, MetricExporter | MetricReader, kinds)

    def logs(self, where: Destination) -> list[LogRecordExporter]:
        """Make exporters of log records; raise as `spans`."""
        kinds = FileLogExporter, log_exporter(grpc=True), log_exporter(grpc=False)
        return self._make("logs", where, LogRecordExporter, kinds)

    def _make(
        self, signal: str, where: Destination, expected: Any, kinds: tuple[Any, Any, Any]
    ) -> list[Any]:
        """Make the exporters of a signal.

        Args:
            signal: "traces", "metrics" or "logs".
            where: The way of `otlp`.
            expected: What other exporters have to be.
            kinds: Those of `otlp`: to files, over gRPC, over HTTP.

        """
        to_files, over_grpc, over_http = kinds

        def by_otlp() -> Any:
            if where.kind == "files":
                return to_files(self._data_dir)
            route = where.routes[signal]
            kind = over_grpc if route.protocol is Protocol.GRPC else over_http
            return _checked(lambda: kind(endpoint=route.endpoint))

        return [
            by_otlp() if name == "otlp" else _made(name, signal, expected)
            for name in self._names[signal]
        ]


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return [name for name in names or ["otlp"] if name != "none"]


def _made(name: str, signal: str, kind: Any) -> Any:
    made = _load(name, signal)()
    if not isinstance(made, kind):
        raise ConfigurationError(_VARIABLES[signal], f"{name!r} exports no {signal}")
    return made


def _load(name: str, signal: str) -> Callable[[], Any]:
    """Find an exporter by its entry point."""
    group = f"opentelemetry_{signal}_exporter"
    found: Iterable[EntryPoint] = entry_points(group=group, name=name)
    for entry in found:
        loaded: Callable[[], Any] = entry.load()
        return loaded
    variable = _VARIABLES[signal]
    raise ConfigurationError(variable, f"unknown exporter {name!r}", "otlp, console or none")


def _checked(make: Callable[[], _T]) -> _T:
    """Build an exporter; the SDK raises all sorts where a variable is wrong."""
    try:
        return make()
    except Exception as error:
        raise ConfigurationError("OTEL_EXPORTER_OTLP_*", str(error)) from error
