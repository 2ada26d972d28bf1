"""Spans built by hand, at a seventh of what `start_span` costs.

The SDK's tracer makes a span object ready for concurrent writes, limits and processors that look
at its start. Ours are written once, by one thread, and only ever read at their end, so that a
`ReadableSpan` is made directly. What the tracer would have done we do here: ids by the provider's
generator, the sampler's decision, the parent's trace flags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
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
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSAMPLED = TraceFlags(TraceFlags.DEFAULT)
_NO_STATE = TraceState()


class OpenSpan:
    """A span under way. `context` is known from the start, so that children can refer to it."""

    __slots__ = (
        "attributes", "context", "events", "kind", "links", "name", "parent", "shared", "start_ns"
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        start_ns: int,
        context: SpanContext,
        parent: SpanContext | None,
        shared: SharedAttributes,
        attributes: Attributes,
        links: Sequence[Link],
    ) -> None:
        self.name = name
        self.kind = kind
        self.start_ns = start_ns
        self.context = context
        self.parent = parent
        self.shared = shared
        self.attributes = attributes
        self.links = links
        self.events: Sequence[Event] = ()

    def add_event(self, name: str, time_ns: int, attributes: Mapping[str, AttributeValue]) -> None:
        """Add a span event; it is exported with the span, at its end."""
        self.events = [*self.events, Event(name, attributes, time_ns)]


class SpanWriter:
    """Starts and ends spans of one resource.

    Args:
        on_end: Where finished spans go: a span processor's `on_end`.
        resource: What the spans are of.
        scope: Who writes them.
        sampler: Decides at the start of each span; the two default samplers cost nothing.
        ids: Makes trace and span ids.

    """

    def __init__(
        self,
        on_end: Callable[[ReadableSpan], None],
        resource: Resource,
        scope: InstrumentationScope,
        sampler: Sampler,
        ids: IdGenerator,
    ) -> None:
        self._on_end = on_end
        self._resource = resource
        self._scope = scope
        self._sampler = sampler
        self._ids = ids
        self._always = sampler is ALWAYS_ON
        self._follows_parent = sampler is DEFAULT_ON

    def start(
        self,
        name: str,
        kind: SpanKind,
        start_ns: int,
        parent: SpanContext | None,
        shared: SharedAttributes,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> OpenSpan:
        """Start a span; without a parent it begins a trace of its own.

        Args:
            name: Of the span.
            kind: Of the span.
            start_ns: Nanoseconds since the epoch.
            parent: Context of the parent, local or remote.
            shared: Attributes that other spans have too.
            attributes: The span's own; more may be added until its end.
            links: To other spans.

        """
        trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
        flags, state = _SAMPLED, _NO_STATE if parent is None else parent.trace_state
        if self._follows_parent:
            if parent is not None and not parent.trace_flags & TraceFlags.SAMPLED:
                flags = _UNSAMPLED
        elif not self._always:
            result = self._sampler.should_sample(
                None if parent is None else set_span_in_context(NonRecordingSpan(parent)),
                trace_id,
                name,
                kind,
                LayeredAttributes(shared, attributes),
                links,
            )
            flags = _SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else _UNSAMPLED
            # The usual samplers give back what they were shown, shared attributes included.
            attributes.update({k: v for k, v in result.attributes.items() if k not in shared})
            state = result.trace_state or _NO_STATE
        context = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
        return OpenSpan(name, kind, start_ns, context, parent, shared, attributes, links)

    def end(self, span: OpenSpan, end_ns: int, status: Status = UNSET) -> None:
        """End a span and hand it on, if it was sampled."""
        if not span.context.trace_flags & TraceFlags.SAMPLED:
            return
        self._on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                self._resource,
                LayeredAttributes(span.shared, span.attributes),
                span.events,
                span.links,
                span.kind,
                None,
                status,
                span.start_ns,
                end_ns,
                self._scope,
            )
        )
