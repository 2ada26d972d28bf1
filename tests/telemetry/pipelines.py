"""Pipelines for tests, and what is asked of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.export.pipeline import Pipeline, TelemetrySettings
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.spans import OpenSpan

CONTEXT = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))


def begun(chosen: TelemetrySettings) -> Pipeline:
    pipeline = Pipeline(chosen, os.environ)
    pipeline.start()
    return pipeline


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variables from outside, and no thread that outlives the test."""
    for variable in list(os.environ):
        if variable.startswith("OTEL_") or variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(variable)
    yield
    for thread in threading.enumerate():
        if thread.name.startswith(("debbie-", "OtelPeriodic")):
            thread.join(12)
            assert not thread.is_alive(), thread.name


def settings(data_dir: Path, **changes: Any) -> TelemetrySettings:
    fields: dict[str, Any] = {"data_dir": data_dir, "local_collectors": ()}
    return TelemetrySettings(**(fields | changes))


def end_span(pipeline: Pipeline, number: int, service: str = "test-agent") -> None:
    """Write a span as the recorder does."""
    writer = pipeline.writer(service)
    shared = SharedAttributes({})
    span = writer.start(OpenSpan(f"span {number}", SpanKind.INTERNAL, 1, None, shared, {}))
    writer.end(span, 2)


def emit(pipeline: Pipeline, body: str = "something stalled", **changes: Any) -> None:
    fields: dict[str, Any] = {
        "name": "debbie.alert",
        "severity": "WARN",
        "body": body,
        "attributes": {"session.id": "s1", "debbie.alert.value": 1.5},
        "time_ns": 7,
        "span": CONTEXT,
    }
    service_name = changes.pop("service_name", "acp-agent")
    pipeline.emit_event(service_name, LogEvent(**(fields | changes)))


def attributes_of(message: Any) -> dict[str, str]:
    return {entry.key: entry.value.string_value for entry in message.attributes}


def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        timeout=20,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )
