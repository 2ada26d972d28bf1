"""Spans for tests of exporters, and what is in their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.spans import OpenSpan, Origin

RESOURCE = Resource({"service.name": "test-agent"})
ORIGIN = Origin(RESOURCE, InstrumentationScope("debbie_otel", "1", "https://schema"))


def make_span(number: int = 0, **changes: Any) -> OpenSpan:
    """Return a span that has ended; numbers tell them apart."""
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "name": f"span {number}",
        "kind": SpanKind.INTERNAL,
        "start_ns": 1,
        "end_ns": 2,
        "trace_id": number + 1,
        "span_id": number + 1,
        "parent": None,
        "shared": SharedAttributes({}),
        "attributes": {},
    }
    return OpenSpan(**(fields | changes))


def spooled_names(directory: Path) -> list[str]:
    """Read the names of the spans in the file, in order."""
    path = directory / "traces.jsonl"
    if not path.exists():
        return []
    return [
        span["name"]
        for line in path.read_bytes().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def names(count: int, start: int = 0) -> list[str]:
    return [f"span {number}" for number in range(start, count)]
