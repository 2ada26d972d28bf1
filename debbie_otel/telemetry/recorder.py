"""Events of one connection -> spans and metrics.

A trace per turn: the request that opens it is the root `invoke_agent {agent}`, what happens in it
are its children. A request or notification outside a turn is a root of its own, or the child of the
trace context that the caller sent. Every message is in exactly one span: a request with its
response, a notification alone, a run of stream chunks together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from opentelemetry.trace import SpanContext, SpanKind

from debbie_otel import semconv
from debbie_otel.session import events as ev
from debbie_otel.session.model import TraceContext
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.connection_spans import (
    ConnectionSpans,
    RecorderOptions,
    link_to,
    status_of,
)
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.outlet import SpanSink
from debbie_otel.telemetry.record_calls import CallRecorder
from debbie_otel.telemetry.record_messages import MessageRecorder
from debbie_otel.telemetry.spans import OpenSpan

__all__ = ["Recorder", "RecorderOptions", "SessionTrace"]


class SessionTrace(msgspec.Struct):
    """What later spans of a session link to, and where it was counted as active.

    Its end may come by another recorder: the dialect was recognised later, or it is seen on
    several connections.
    """

    start: SpanContext
    counted: Instruments
    last_turn: SpanContext | None = None


class Recorder:
    """Records the events of one connection.

    Args:
        writer: Where spans go.
        instruments: Where measurements go.
        options: How.
        constant: Attributes of every span of this connection.
        trace: Trace context of the handshake; parent of what has no other.
        mcp: Whether MCP's names apply.
        side: Where this is seen: at the server's door, or in the client's process, where the
            kinds of spans and the metrics of calls are the other way about.

    Attributes:
        handlers: What records an event, by its type; events without one leave no trace.

    """

    def __init__(
        self,
        writer: SpanSink,
        instruments: Instruments,
        options: RecorderOptions,
        constant: Attributes,
        *,
        trace: TraceContext | None = None,
        mcp: bool = False,
        side: Literal["client", "server"] = "server",
    ) -> None:
        self._instruments = instruments
        self._spans = ConnectionSpans(writer, options, constant, trace=trace, mcp=mcp, side=side)
        self.handlers: dict[type, Callable[[Any], None]] = {
            ev.SessionStarted: self._session_started,
            ev.SessionEnded: self._session_ended,
            ev.TurnStarted: self._turn_started,
            ev.TurnEnded: self._turn_ended,
            **CallRecorder(self._spans, instruments).handlers,
            **MessageRecorder(self._spans, instruments, options).handlers,
        }

    # -- sessions ----------------------------------------------------------------------------

    def _session_started(self, event: ev.SessionStarted) -> None:
        session = event.session
        before: SessionTrace | None = session.handle
        links = [] if before is None else [link_to(before.start, "resumed_session")]
        span = self._spans.start(
            session,
            semconv.SPAN_SESSION_START,
            SpanKind.INTERNAL,
            event.time_ns,
            self._spans.outer,
            {semconv.SESSION_RESUMED: session.resumed},
            links,
        )
        session.handle = SessionTrace(
            span.context, self._instruments, None if before is None else before.last_turn
        )
        self._instruments.sessions_active += 1
        self._spans.end(span, event.time_ns)

    def _session_ended(self, event: ev.SessionEnded) -> None:
        session = event.session
        trace: SessionTrace | None = session.handle
        if trace is not None:
            trace.counted.sessions_active -= 1
        self._instruments.session(session, event.reason)
        attributes: Attributes = {
            semconv.SESSION_END_REASON: event.reason,
            semconv.SESSION_TURNS: session.turns,
            semconv.SESSION_CALLS: session.calls,
            semconv.SESSION_TOOLS: session.tools,
            semconv.SESSION_ERRORS: session.errors,
            semconv.SESSION_MESSAGES: session.messages,
        }
        links = [] if trace is None else [link_to(trace.start, "session_start")]
        name = semconv.SPAN_SESSION_END
        self._spans.point(session, name, SpanKind.INTERNAL, event.time_ns, None, attributes, links)

    # -- turns -------------------------------------------------------------------------------

    def _turn_started(self, event: ev.TurnStarted) -> None:
        turn = event.turn
        session = turn.session
        trace: SessionTrace | None = session.handle
        links = []
        if trace is not None:
            links.append(link_to(trace.start, "session_start"))
            if trace.last_turn is not None:
                links.append(link_to(trace.last_turn, "previous_turn"))
        attributes: Attributes = {
            semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_AGENT,
            semconv.GEN_AI_AGENT_NAME: session.agent,
            semconv.GEN_AI_CONVERSATION_ID: session.id,
            semconv.TURN_NUMBER: turn.number,
            self._spans.method_attribute: turn.method,
        }
        if session.agent_id is not None:
            attributes[semconv.GEN_AI_AGENT_ID] = session.agent_id
        if turn.call is not None:
            attributes[semconv.JSONRPC_REQUEST_ID] = str(turn.call.id)
            attributes[semconv.REQUEST_SIZE] = turn.call.request_bytes
            if turn.call.injected:
                attributes[semconv.INJECTED] = True
        turn.handle = self._spans.start(
            session,
            f"{semconv.INVOKE_AGENT} {session.agent}",
            self._spans.kinds[turn.direction],
            turn.started_ns,
            self._spans.parent(turn.trace, None),
            attributes,
            links,
        )
        if trace is not None:
            trace.last_turn = turn.handle.context

    def _turn_ended(self, event: ev.TurnEnded) -> None:
        turn = event.turn
        span: OpenSpan = turn.handle
        attributes = span.attributes
        attributes[semconv.TURN_OUTCOME] = str(turn.outcome)
        attributes[semconv.TURN_TOOLS] = turn.tools
        attributes[semconv.TURN_FAILED_TOOLS] = turn.failed_tools
        attributes[semconv.TURN_CALLS] = turn.calls
        for name, value in (
            (semconv.TURN_ID, turn.id),
            (semconv.GEN_AI_USAGE_INPUT_TOKENS, turn.input_tokens or None),
            (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, turn.output_tokens or None),
            (semconv.GEN_AI_RESPONSE_FINISH_REASONS, turn.stop_reason and [turn.stop_reason]),
        ):
            if value is not None:
                attributes[name] = value
        if turn.call is not None and turn.call.response_bytes:
            attributes[semconv.RESPONSE_SIZE] = turn.call.response_bytes
            if turn.call.error_code is not None:
                attributes[semconv.RPC_RESPONSE_STATUS_CODE] = str(turn.call.error_code)
        self._spans.capture(attributes, semconv.GEN_AI_INPUT_MESSAGES, _words("user", turn.input))
        self._spans.capture(
            attributes, semconv.GEN_AI_OUTPUT_MESSAGES, _words("assistant", turn.output)
        )
        status = status_of(attributes, turn.outcome, turn.error_type, turn.error_message)
        self._spans.end(span, event.time_ns, status)
        self._instruments.turn(turn, *span.exemplar)


def _words(role: str, text: str | None) -> list[dict[str, Any]] | None:
    """Return a GenAI message of one text part."""
    return (text and [{"role": role, "parts": [{"type": "text", "content": text}]}]) or None
