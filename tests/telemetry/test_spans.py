"""Spans that are built by hand, as the SDK's tracer would build them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.spans import OpenSpan, SpanWriter
from tests.telemetry.spantree import CountingIds

SHARED = SharedAttributes({"session.id": "s"})
STATE = TraceState([("vendor", "1")])


def writer(sampler: Sampler = ALWAYS_ON, ended: list[OpenSpan] | None = None) -> SpanWriter:
    taken = [] if ended is None else ended
    scope = InstrumentationScope("debbie_otel")
    return SpanWriter(taken.append, Resource({"a": "b"}), scope, sampler, CountingIds())


def parent(flags: int = 1) -> SpanContext:
    return SpanContext(0xAA, 0xBB, True, TraceFlags(flags), STATE)


def span(of: SpanContext | None = None, **own: Any) -> OpenSpan:
    return OpenSpan("turn", SpanKind.SERVER, 10, of, SHARED, own)


def test_a_root_begins_a_trace_and_a_child_goes_on_with_its_parents() -> None:
    spans = writer()
    root = spans.start(span())
    child = spans.start(span(root.context))
    assert root.trace_id == child.trace_id != 0
    assert len({root.span_id, child.span_id, 0}) == 3
    remote = spans.start(span(parent()))
    assert (remote.trace_id, remote.context.trace_state) == (0xAA, STATE)


@pytest.mark.parametrize(
    "sampler", [ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, ParentBased(ALWAYS_OFF), TraceIdRatioBased(0.5)]
)
@pytest.mark.parametrize("flags", [None, 0, 1])
def test_a_sampler_decides_as_it_does_for_the_sdks_tracer(
    sampler: Sampler, flags: int | None
) -> None:
    """Same ids, same parents: as many of ours are sampled, with the same trace state."""
    context = None if flags is None else parent(flags)
    ended: list[OpenSpan] = []
    ours = writer(sampler, ended)
    provider = TracerProvider(sampler, id_generator=CountingIds(), shutdown_on_exit=False)
    tracer = provider.get_tracer("theirs")
    around = None if context is None else set_span_in_context(NonRecordingSpan(context))
    for _ in range(20):
        mine = ours.start(span(context))
        theirs = tracer.start_span("turn", around, SpanKind.SERVER)
        assert mine.sampled is theirs.get_span_context().trace_flags.sampled
        assert mine.context.trace_state == theirs.get_span_context().trace_state
        before = len(ended)
        ours.end(mine, 20)
        assert len(ended) - before == mine.sampled
    provider.shutdown()


def test_what_a_sampler_adds_is_on_the_span() -> None:
    class Marking(Sampler):
        def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, {"session.id": "s", "rate": 0.5})

        def get_description(self) -> str:
            return "Marking"

    started = writer(Marking()).start(span(n=1))
    assert started.attributes == {"n": 1, "rate": 0.5}


def test_it_reads_as_a_span_of_the_sdks() -> None:
    ended: list[OpenSpan] = []
    spans = writer(ended=ended)
    started = spans.start(span(parent(), n=1))
    started.add_event("happened", 15, {"a": 1})
    spans.end(started, 20, Status(StatusCode.ERROR, "no"))
    (found,) = [each.readable() for each in ended]
    assert (found.name, found.kind, found.start_time, found.end_time) == (
        "turn",
        SpanKind.SERVER,
        10,
        20,
    )
    assert dict(found.attributes or {}) == {"session.id": "s", "n": 1}
    assert found.context == started.context
    assert found.parent == parent()
    assert [(event.name, event.timestamp) for event in found.events] == [("happened", 15)]
    assert (found.status.description, found.resource.attributes["a"]) == ("no", "b")
    assert started.exemplar == (started.trace_id, started.span_id)
