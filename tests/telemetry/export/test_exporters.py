"""What the user is told of the exporters that variables name."""

from __future__ import annotations

from pathlib import Path

import pytest

from debbie_otel.telemetry.export.destination import choose, find
from debbie_otel.telemetry.export.exporters import Selection

DATA = Path("/data")


def described(otlp: str | None, environ: dict[str, str]) -> tuple[str, str]:
    """Return what takes the spans, and the hint."""
    where = choose(otlp, environ) or find((), DATA)
    found = Selection(environ, DATA).described(where)
    assert (found.kind, found.where, found.routes) == (where.kind, where.where, where.routes)
    return found.spans, found.hint.replace(where.hint, "HINT")


@pytest.mark.parametrize(
    ("environ", "spans", "hint"),
    [
        ({}, "/data/traces.jsonl", "HINT"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "", "Traces are off (OTEL_TRACES_EXPORTER)."),
        (
            {"OTEL_TRACES_EXPORTER": "console"},
            "console",
            "Traces go to console (OTEL_TRACES_EXPORTER).",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "console,otlp"},
            "console and /data/traces.jsonl",
            "Traces go to console and otlp (OTEL_TRACES_EXPORTER). HINT",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "none"},
            "/data/traces.jsonl",
            "Metrics are off (OTEL_METRICS_EXPORTER). HINT",
        ),
        (
            {"OTEL_CONFIG_FILE": "otel.yaml"},
            "/data/traces.jsonl",
            "OTEL_CONFIG_FILE is not read; the other variables are. HINT",
        ),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"}, "", "HINT"),
    ],
)
def test_files(environ: dict[str, str], spans: str, hint: str) -> None:
    assert described(None, environ) == (spans, hint)


def test_a_receiver() -> None:
    url = "http://127.0.0.1:4318"
    assert described(url, {}) == (url, "HINT")
    off = {"OTEL_LOGS_EXPORTER": "none"}
    assert described(url, off) == (url, "Logs are off (OTEL_LOGS_EXPORTER). HINT")
