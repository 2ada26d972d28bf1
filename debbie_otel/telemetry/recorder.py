"""Events of one connection -> spans and metrics.

A trace per turn: the request that opens it is the root `invoke_agent {agent}`, what happens in it
are its children. A request or notification outside a turn is a root of its own, or the child of the
trace context that the caller sent. Every message is in exactly one span: a request with its
response, a notification alone, a run of stream chunks together.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import SpanKind

from debbie_otel import semconv
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus, Unsubscribe
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.connection_spans import (
    ConnectionFacts,
    ConnectionSpans,
    RecorderOptions,
    link_to,
    status_of,
)
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.record_calls import CallRecorder
from debbie_otel.telemetry.record_messages import MessageRecorder
from debbie_otel.telemetry.spans import SpanSink
from debbie_otel.telemetry.traces import SessionTrace, Traces

RECORDED: tuple[type[ev.Event], ...] = (
    ev.MessageSeen,
    ev.CallEnded,
    ev.StreamAdvanced,
    ev.NotificationSeen,
    ev.ToolEnded,
    ev.StreamEnded,
    ev.TurnStarted,
    ev.TurnEnded,
    ev.SessionStarted,
    ev.SessionEnded,
    ev.UsageReported,
    ev.StraySeen,
)
"""The kinds of events that leave a trace, the frequent ones first."""


class Recorder:
    """Records the events of one connection.

    Args:
        writer: Where spans go.
        instruments: Where measurements go.
        traces: Spans of the sessions, also on other connections.
        options: How.
        facts: What is known of the connection.

    """

    def __init__(
        self,
        writer: SpanSink,
        instruments: Instruments,
        traces: Traces,
        options: RecorderOptions,
        facts: ConnectionFacts,
    ) -> None:
        self._instruments = instruments
        self._traces = traces
        self._spans = ConnectionSpans(writer, traces, options, facts)
        self._calls = CallRecorder(self._spans, instruments, traces)
        self._messages = MessageRecorder(self._spans, instruments, options)

    def subscribe_to(self, events: EventBus) -> Unsubscribe:
        """Hear of every kind of event that leaves a trace.

        The two that come with every request are taken without a detour by `on_event`.
        """
        others = dict.fromkeys(RECORDED, self.on_event)
        calls, counts = self._calls.call_ended, self._instruments.message_seen
        return events.subscribe_handlers(
            {**others, ev.CallEnded: calls, ev.MessageSeen: counts}, place="the recording of a span"
        )

    def on_event(self, event: ev.Event) -> None:
        """Record an event of a kind that is RECORDED; others leave no trace.

        Types are compared: `match` asks each class in turn, which costs more than most events do.
        """
        if type(event) is ev.MessageSeen:
            self._instruments.message_seen(event)
        elif type(event) is ev.CallEnded:
            self._calls.call_ended(event)
        elif type(event) is ev.StreamAdvanced:
            self._messages.stream_advanced(event)
        elif type(event) is ev.NotificationSeen:
            self._messages.notification_seen(event)
        elif type(event) is ev.ToolEnded:
            self._calls.tool_ended(event)
        elif type(event) is ev.StreamEnded:
            self._messages.stream_ended(event)
        elif type(event) is ev.TurnStarted:
            self._turn_started(event)
        elif type(event) is ev.TurnEnded:
            self._turn_ended(event)
        elif type(event) is ev.SessionStarted:
            self._session_started(event)
        elif type(event) is ev.SessionEnded:
            self._session_ended(event)
        elif type(event) is ev.UsageReported:
            self._messages.usage_reported(event)
        elif type(event) is ev.StraySeen:
            self._messages.stray_seen(event)

    # -- sessions ----------------------------------------------------------------------------

    def _session_started(self, event: ev.SessionStarted) -> None:
        session = event.session
        before = self._traces.sessions.get(session)
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
        last_turn = None if before is None else before.last_turn
        self._traces.sessions.set(session, SessionTrace(span.context, self._instruments, last_turn))
        self._instruments.sessions_active += 1
        self._spans.end(span, event.time_ns)

    def _session_ended(self, event: ev.SessionEnded) -> None:
        session = event.session
        trace = self._traces.sessions.get(session)
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
        name, now = semconv.SPAN_SESSION_END, event.time_ns
        span = self._spans.start(session, name, SpanKind.INTERNAL, now, None, attributes, links)
        self._spans.end(span, now)

    # -- turns -------------------------------------------------------------------------------

    def _turn_started(self, event: ev.TurnStarted) -> None:
        turn = event.turn
        session = turn.session
        trace = self._traces.sessions.get(session)
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
        span = self._spans.start(
            session,
            f"{semconv.INVOKE_AGENT} {session.agent}",
            self._spans.kinds[turn.direction],
            turn.started_ns,
            self._spans.parent(turn.trace, None),
            attributes,
            links,
        )
        self._traces.turns.set(turn, span)
        if trace is not None:
            trace.last_turn = span.context

    def _turn_ended(self, event: ev.TurnEnded) -> None:
        turn = event.turn
        span = self._traces.turns.get(turn)
        if span is None:  # it began before there was a recorder
            return
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
