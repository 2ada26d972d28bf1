"""Spans kept in a list, with ids and times that repeat from run to run; and a tree of them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from debbie_otel.session import events as ev
from debbie_otel.telemetry.connection_spans import ConnectionFacts, RecorderOptions
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.recorder import Recorder
from debbie_otel.telemetry.spans import OpenSpan, SpanWriter
from debbie_otel.telemetry.traces import Traces
from tests.play import Play

SESSION = """
    >> {"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}
    << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1","status":1}}
"""
TURN = """
    >> {"jsonrpc":"2.0","id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"list"}}
    +1
    << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"o"}}
    +0.5
    << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"ok"}}
    << {"method":"ChannelMessageNotification","params":{"metadata":{"sessionId":"s1"}}}
    >> {"jsonrpc":"2.0","id":3,"method":"echo","params":{}}
    << {"jsonrpc":"2.0","id":3,"result":{}}
    << {"jsonrpc":"2.0","id":2,"result":{"ai_response":"ok","tool_calls":[{"id":"c1","function":{"name":"ls","arguments":"{}"}}]}}
"""


class CountingIds(IdGenerator):
    """1, 2, 3, ..."""

    def __init__(self) -> None:
        self._trace_ids = itertools.count(1)
        self._span_ids = itertools.count(1)

    def generate_trace_id(self) -> int:
        return next(self._trace_ids)

    def generate_span_id(self) -> int:
        return next(self._span_ids)


class Recorded:
    """Records what a stage plays."""

    def __init__(
        self,
        stage: Play,
        options: RecorderOptions | None = None,
        sampler: Sampler = ALWAYS_ON,
        *,
        mcp: bool = False,
    ) -> None:
        self.stage = stage
        self.finished: list[OpenSpan] = []
        self.instruments = Instruments("test", mcp=mcp)
        self.writer = SpanWriter(
            self.finished.append,
            Resource.create({"service.name": "test-agent"}),
            InstrumentationScope("debbie_otel"),
            sampler,
            CountingIds(),
        )
        self.traces = Traces()
        self.recorder = Recorder(
            self.writer,
            self.instruments,
            self.traces,
            options or RecorderOptions(),
            ConnectionFacts({"debbie.connection.id": "conn-A"}, mcp=mcp),
        )
        self._told = 0

    @property
    def spans(self) -> list[ReadableSpan]:
        """Spans that have ended, as the SDK has them."""
        return [span.readable() for span in self.finished]

    def play(self, transcript: str) -> None:
        """Play lines and record them."""
        self.stage.play(transcript)
        self.catch_up()

    def close(self) -> None:
        """Close the connection and record it."""
        self.stage.close()
        self.catch_up()

    def forget(self) -> None:
        """Have no event in mind any more."""
        self.stage.events.clear()
        self._told = 0

    def catch_up(self) -> None:
        """Record what has happened since."""
        new: list[ev.Event] = self.stage.events[self._told :]
        self._told = len(self.stage.events)
        for event in new:
            self.recorder.on_event(event)

    def named(self, name: str) -> ReadableSpan:
        """Return the only span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


def tree(spans: list[ReadableSpan]) -> list[str]:
    """Return an indented line a span, by start; children below their parent.

    `?` marks a span whose parent is not there.
    """
    children: dict[int, list[ReadableSpan]] = defaultdict(list)
    known = {span.context.span_id for span in spans}
    roots = []
    for span in sorted(spans, key=lambda s: (s.start_time or 0, s.context.span_id)):
        if span.parent is not None and span.parent.span_id in known:
            children[span.parent.span_id].append(span)
        else:
            roots.append(span)
    lines: list[str] = []

    def add(span: ReadableSpan, depth: int) -> None:
        orphan = "? " if depth == 0 and span.parent is not None else ""
        error = "" if span.status.is_ok or span.status.is_unset else " ERROR"
        lines.append(f"{'  ' * depth}{orphan}{span.name} [{span.kind.name}]{error}")
        for child in children[span.context.span_id]:
            add(child, depth + 1)

    for root in roots:
        add(root, 0)
    return lines


def attributes(recorded: Recorded, name: str) -> dict[str, Any]:
    return dict(recorded.named(name).attributes or {})
