"""Spans built by hand, at a tenth of what `start_span` costs.

The SDK's tracer makes a span object ready for concurrent writes, limits and processors that look
at its start. Ours are written once, by one thread, and only ever read at their end. What the
tracer would have done we do here: ids by the provider's generator, the sampler's decision, the
parent's trace flags. The SDK's own `ReadableSpan` is made only for an exporter that needs it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, final

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from debbie_otel.telemetry.attributes import (
    Attributes,
    AttributeValue,
    LayeredAttributes,
    SharedAttributes,
)

UNSET = Status(StatusCode.UNSET)
NOTHING_DROPPED = (0, 0, 0)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSAMPLED = TraceFlags(TraceFlags.DEFAULT)


class Origin(msgspec.Struct, frozen=True, eq=False):
    """Whose spans they are: what all spans of a writer have in common."""

    resource: Resource
    scope: InstrumentationScope


_NOBODY = Origin(Resource.get_empty(), InstrumentationScope(""))


@final
class OpenSpan(msgspec.Struct, eq=False, gc=False):
    """A span, from its start to its export.

    Attributes:
        kind: Server, client or internal.
        start_ns: Nanoseconds since the epoch; so is `end_ns`, which is 0 while it is open.
        parent: Context of the parent, local or remote; None for the root of a trace.
        shared: Attributes that other spans have too.
        attributes: The span's own; more may be added until its end.
        links: To other spans.
        origin: Whose it is; like the fields after it, set by `SpanSink.start`.
        trace_id: 128 bits; `span_id`, 64. They are known from the start, for its children.
        sampled: Whether it is exported.
        state: The trace state that it hands down.
        dropped: How many attributes, events and links were left out because of a limit.

    """

    name: str
    kind: SpanKind
    start_ns: int
    parent: SpanContext | None
    shared: SharedAttributes
    attributes: Attributes
    links: Sequence[Link] = ()
    origin: Origin = _NOBODY
    trace_id: int = 0
    span_id: int = 0
    sampled: bool = True
    state: TraceState = DEFAULT_TRACE_STATE
    events: Sequence[Event] = ()
    end_ns: int = 0
    status: Status = UNSET
    dropped: tuple[int, int, int] = NOTHING_DROPPED
    _context: SpanContext | None = None

    @property
    def context(self) -> SpanContext:
        """Its context, as children and links refer to it."""
        if self._context is None:
            flags = _SAMPLED if self.sampled else _UNSAMPLED
            self._context = SpanContext(self.trace_id, self.span_id, False, flags, self.state)
        return self._context

    @property
    def exemplar(self) -> tuple[int, int]:
        """Trace and span id as a measurement points to them; zeros where it is not exported."""
        return (self.trace_id, self.span_id) if self.sampled else (0, 0)

    def add_event(self, name: str, time_ns: int, attributes: Mapping[str, AttributeValue]) -> None:
        """Add a span event; it is exported with the span, at its end."""
        self.events = [*self.events, Event(name, attributes, time_ns)]

    def readable(self) -> ReadableSpan:
        """Return it as the SDK's processors and exporters want it."""
        return ReadableSpan(
            self.name,
            self.context,
            self.parent,
            self.origin.resource,
            LayeredAttributes(self.shared, self.attributes) if self.shared else self.attributes,
            self.events,
            self.links,
            self.kind,
            None,
            self.status,
            self.start_ns,
            self.end_ns,
            self.origin.scope,
        )


class SpanSink(Protocol):
    """Where spans go: `SpanWriter`, or a tracer of the program's."""

    def start(self, span: OpenSpan) -> OpenSpan:
        """Start a span, and return it: give it its ids, and decide whether it is sampled."""

    def end(self, span: OpenSpan, end_ns: int, status: Status = UNSET) -> None:
        """End a span, with what has been added to it since its start."""


class SpanWriter:
    """Starts and ends spans of one resource.

    Args:
        on_end: Where finished spans go.
        resource: What the spans are of.
        scope: Who writes them.
        sampler: Decides at the start of each span; the two default samplers cost nothing.
        ids: Makes trace and span ids.

    """

    def __init__(
        self,
        on_end: Callable[[OpenSpan], Any],
        resource: Resource,
        scope: InstrumentationScope,
        sampler: Sampler,
        ids: IdGenerator,
    ) -> None:
        self._on_end = on_end
        self._origin = Origin(resource, scope)
        self._sampler = sampler
        self._new_trace_id = ids.generate_trace_id
        self._new_span_id: Callable[[], int] = ids.generate_span_id
        if type(ids) is RandomIdGenerator:  # the same, but for a loop that rules out zero
            self._new_span_id = partial(random.getrandbits, 64)
        # The samplers that need not be asked: on, and on unless the parent is off.
        self._always = sampler is ALWAYS_ON
        self._follows_parent = sampler is DEFAULT_ON

    def start(self, span: OpenSpan) -> OpenSpan:
        """Start a span; without a parent it begins a trace of its own."""
        parent = span.parent
        span.origin = self._origin
        span.span_id = self._new_span_id() or 1
        if parent is None:
            span.trace_id = self._new_trace_id()
        else:
            span.trace_id = parent.trace_id
            span.state = parent.trace_state
            if self._follows_parent:
                span.sampled = bool(parent.trace_flags & TraceFlags.SAMPLED)
        if not (self._follows_parent or self._always):
            self._sample(span)
        return span

    def _sample(self, span: OpenSpan) -> None:
        parent = span.parent
        result = self._sampler.should_sample(
            None if parent is None else set_span_in_context(NonRecordingSpan(parent)),
            span.trace_id,
            span.name,
            span.kind,
            LayeredAttributes(span.shared, span.attributes),
            span.links,
        )
        span.sampled = result.decision is Decision.RECORD_AND_SAMPLE
        # The usual samplers give back what they were shown, shared attributes included.
        more = {k: v for k, v in result.attributes.items() if k not in span.shared}
        span.attributes.update(more)
        span.state = result.trace_state or DEFAULT_TRACE_STATE

    def end(self, span: OpenSpan, end_ns: int, status: Status = UNSET) -> None:
        """End a span and hand it on, if it was sampled."""
        if span.sampled:
            span.end_ns = end_ns
            span.status = status
            self._on_end(span)
