"""What the spans of one connection have in common: their layers of attributes and their parents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from debbie_otel import semconv
from debbie_otel.session.model import Call, Outcome, SessionInfo, TraceContext, Turn
from debbie_otel.session.redact import content
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.spans import UNSET, OpenSpan, SpanSink
from debbie_otel.telemetry.traces import Traces
from debbie_otel.wire.direction import MessageDirection

_AT_SERVER = {
    MessageDirection.CLIENT_TO_SERVER: SpanKind.SERVER,
    MessageDirection.SERVER_TO_CLIENT: SpanKind.CLIENT,
}
_AT_CLIENT = {
    MessageDirection.CLIENT_TO_SERVER: SpanKind.CLIENT,
    MessageDirection.SERVER_TO_CLIENT: SpanKind.SERVER,
}
MAX_NAME = 128
"""Characters of a span's name."""

_ERRORS = (Outcome.FAILED, Outcome.ABORTED)
_MAX_LAYERS = 256
_propagator = TraceContextTextMapPropagator()


class RecorderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How events become spans.

    Attributes:
        stream_chunks: A run of chunks is one span, a span each, or none.
        capture_content: Whether arguments, results and words are recorded, cut and redacted.
        content_limit: Characters of each.

    """

    stream_chunks: Literal["fold", "span", "off"] = "fold"
    capture_content: bool = False
    content_limit: int = 4096


class ConnectionFacts(msgspec.Struct, frozen=True):
    """What the spans of one connection depend on.

    Attributes:
        attributes: Of every one of them.
        trace: Trace context of the handshake; parent of what has no other.
        mcp: Whether MCP's names apply.
        side: Where this is seen: at the server's door, or in the client's process, where the
            kinds of spans and the metrics of calls are the other way about.

    """

    attributes: Attributes
    trace: TraceContext | None = None
    mcp: bool = False
    side: Literal["client", "server"] = "server"


class ConnectionSpans:
    """Starts the spans of one connection.

    Args:
        writer: Where spans go.
        traces: Spans that others are children of.
        options: Whether content is recorded, and how much.
        facts: What is known of the connection.

    Attributes:
        kinds: The kind of a span by the direction of its message.
        end: Ends a span, see `SpanWriter.end`.
        outer: Context of the handshake's trace; None without one.
        method_attribute: Under which a span names its method.

    """

    def __init__(
        self, writer: SpanSink, traces: Traces, options: RecorderOptions, facts: ConnectionFacts
    ) -> None:
        self.kinds = _AT_SERVER if facts.side == "server" else _AT_CLIENT
        self.end = writer.end
        self.outer = None if facts.trace is None else span_context(facts.trace)
        self.method_attribute = semconv.MCP_METHOD_NAME if facts.mcp else semconv.RPC_METHOD
        self._start = writer.start
        self._traces = traces
        self._options = options
        self._constant = constant = facts.attributes
        self._session_id = ""
        self._session_layer = SharedAttributes(constant)
        self._call_layers: dict[tuple[str, bool], SharedAttributes] = {}

    # -- spans -------------------------------------------------------------------------------

    def start(
        self,
        session: SessionInfo,
        name: str,
        kind: SpanKind,
        start_ns: int,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> OpenSpan:
        """Start a span of a session."""
        if session.id != self._session_id:
            self._change_session(session)
        layer = self._session_layer
        return self._start(
            OpenSpan(name[:MAX_NAME], kind, start_ns, parent, layer, attributes, links)
        )

    def open_call(self, call: Call, attributes: Attributes) -> OpenSpan:
        """Start the span of a request: at its end, or before, where it has children already.

        What the calls of a method share need not be given.
        """
        turn, name = call.turn, call.method
        if call.tool is not None:
            name = f"{name} {call.tool.name}"
        links: Sequence[Link] = ()
        if call.part_of is not None and call.trace is None:
            parent: SpanContext | None = self.call_context(call.part_of)
        elif call.trace is None and turn is None:
            parent = self.outer
        else:
            parent = self.parent(call.trace, turn)
            if call.trace is not None and turn is not None:
                links = self._link_to_turn(turn)
        if call.session.id != self._session_id:
            self._change_session(call.session)
        key = call.method, call.versioned
        layer = self._call_layers.get(key) or self._call_layer(*key)
        kind, started = self.kinds[call.direction], call.started_ns
        return self._start(
            OpenSpan(name[:MAX_NAME], kind, started, parent, layer, attributes, links)
        )

    def call_context(self, call: Call) -> SpanContext | None:
        """Return the context of a request's span, which is opened for its children."""
        if call.opens_turn and call.turn is not None:
            span = self._traces.turns.get(call.turn)
            return self.outer if span is None else span.context
        span = self._traces.calls.get(call)
        if span is None:
            span = self.open_call(call, {})
            self._traces.calls.set(call, span)
        return span.context

    def parent(self, trace: TraceContext | None, turn: Turn | None) -> SpanContext | None:
        """Return the parent: what the caller sent, else the turn, else the handshake's trace."""
        sent = None if trace is None else span_context(trace)
        if sent is not None:
            return sent
        if turn is not None:
            span = self._traces.turns.get(turn)
            if span is not None:
                return span.context
        return self.outer

    def _link_to_turn(self, turn: Turn) -> Sequence[Link]:
        span = self._traces.turns.get(turn)
        return () if span is None else (link_to(span.context, "turn"),)

    def capture(self, attributes: Attributes, name: str, value: Any) -> None:
        """Note content where that is wanted."""
        if self._options.capture_content and value is not None:
            attributes[name] = content(value, self._options.content_limit)

    # -- what spans share ---------------------------------------------------------------------

    def _change_session(self, session: SessionInfo) -> None:
        self._session_id = session.id
        self._session_layer = SharedAttributes({**self._constant, semconv.SESSION_ID: session.id})
        self._call_layers.clear()

    def _call_layer(self, method: str, versioned: bool) -> SharedAttributes:
        layer = SharedAttributes({**self._session_layer, self.method_attribute: method})
        if versioned:
            layer[semconv.JSONRPC_PROTOCOL_VERSION] = "2.0"
        if len(self._call_layers) >= _MAX_LAYERS:  # methods are the peer's words
            self._call_layers.clear()
        self._call_layers[method, versioned] = layer
        return layer


def span_context(trace: TraceContext) -> SpanContext | None:
    """Read a W3C trace context; None if it is not valid.

    Flags other than `sampled` are accepted (level 2 of the specification adds one).
    """
    carrier = {"traceparent": trace.traceparent, "tracestate": trace.tracestate}
    context = get_current_span(_propagator.extract(carrier)).get_span_context()
    return context if context.is_valid else None


def link_to(context: SpanContext, kind: str) -> Link:
    """Return a link that says what it is for."""
    return Link(context, {semconv.LINK_TYPE: kind})


def status_of(
    attributes: Attributes, outcome: Outcome | None, error_type: str | None, message: str
) -> Status:
    """Note the error, and return the status that it means; a cancelled call is not an error."""
    if error_type is not None:
        attributes[semconv.ERROR_TYPE] = error_type
    return Status(StatusCode.ERROR, message or error_type) if outcome in _ERRORS else UNSET
