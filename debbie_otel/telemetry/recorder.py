"""Events of one connection -> spans and metrics.

A trace per turn: the request that opens it is the root `invoke_agent {agent}`, what happens in it
are its children. A request or notification outside a turn is a root of its own, or the child of the
trace context that the caller sent. Every message is in exactly one span: a request with its
response, a notification alone, a run of stream chunks together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from debbie_otel import semconv
from debbie_otel.core import events as ev
from debbie_otel.core.message import InterceptedMessage, MessageDirection, MessageType
from debbie_otel.core.model import Outcome, SessionInfo, Stream, Tool, TraceContext, Turn
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.redact import content
from debbie_otel.telemetry.spans import UNSET, OpenSpan, SpanWriter

_KINDS = {
    MessageDirection.CLIENT_TO_SERVER: SpanKind.SERVER,
    MessageDirection.SERVER_TO_CLIENT: SpanKind.CLIENT,
}
_ERRORS = (Outcome.FAILED, Outcome.ABORTED)
_MAX_NAME = 128
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

    Attributes:
        handlers: What records an event, by its type; events without one leave no trace.

    """

    def __init__(
        self,
        writer: SpanWriter,
        instruments: Instruments,
        options: RecorderOptions,
        constant: Attributes,
        *,
        trace: TraceContext | None = None,
        mcp: bool = False,
    ) -> None:
        self._writer = writer
        self._instruments = instruments
        self._options = options
        self._constant = constant
        self._shared = SharedAttributes(constant)
        self._shared_id = ""
        self._outer = None if trace is None else span_context(trace)
        self._method_attribute = semconv.MCP_METHOD_NAME if mcp else semconv.RPC_METHOD
        self.handlers: dict[type, Callable[[Any], None]] = {
            ev.MessageSeen: self._message,
            ev.SessionStarted: self._session_started,
            ev.SessionEnded: self._session_ended,
            ev.TurnStarted: self._turn_started,
            ev.TurnEnded: self._turn_ended,
            ev.CallEnded: self._call_ended,
            ev.ToolEnded: self._tool_ended,
            ev.StreamEnded: self._stream_ended,
            ev.NotificationSeen: self._notification,
            ev.StraySeen: self._stray,
            ev.UsageReported: self._usage,
        }
        if options.stream_chunks == "span":
            self.handlers[ev.StreamAdvanced] = self._stream_advanced
        if options.stream_chunks != "fold":
            del self.handlers[ev.StreamEnded]

    # -- sessions ----------------------------------------------------------------------------

    def _session_started(self, event: ev.SessionStarted) -> None:
        session = event.session
        before: SessionTrace | None = session.handle
        links = [] if before is None else [_link(before.start, "resumed_session")]
        span = self._start(
            session,
            semconv.SPAN_SESSION_START,
            SpanKind.INTERNAL,
            event.time_ns,
            self._outer,
            {semconv.SESSION_RESUMED: session.resumed},
            links,
        )
        session.handle = SessionTrace(
            span.context, self._instruments, None if before is None else before.last_turn
        )
        self._instruments.sessions_active += 1
        self._writer.end(span, event.time_ns)

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
        links = [] if trace is None else [_link(trace.start, "session_start")]
        name = semconv.SPAN_SESSION_END
        self._point(session, name, SpanKind.INTERNAL, event.time_ns, None, attributes, links)

    # -- turns -------------------------------------------------------------------------------

    def _turn_started(self, event: ev.TurnStarted) -> None:
        turn = event.turn
        session = turn.session
        trace: SessionTrace | None = session.handle
        links = []
        if trace is not None:
            links.append(_link(trace.start, "session_start"))
            if trace.last_turn is not None:
                links.append(_link(trace.last_turn, "previous_turn"))
        attributes: Attributes = {
            semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_AGENT,
            semconv.GEN_AI_AGENT_NAME: session.agent,
            semconv.GEN_AI_CONVERSATION_ID: session.id,
            semconv.TURN_NUMBER: turn.number,
            self._method_attribute: turn.method,
        }
        if session.agent_id is not None:
            attributes[semconv.GEN_AI_AGENT_ID] = session.agent_id
        if turn.call is not None:
            attributes[semconv.JSONRPC_REQUEST_ID] = str(turn.call.id)
            attributes[semconv.REQUEST_SIZE] = turn.call.request_bytes
        turn.handle = self._start(
            session,
            f"{semconv.INVOKE_AGENT} {session.agent}"[:_MAX_NAME],
            _KINDS[turn.direction],
            turn.started_ns,
            self._parent(turn.trace, None),
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
        self._capture(attributes, semconv.GEN_AI_INPUT_MESSAGES, _words("user", turn.input))
        self._capture(attributes, semconv.GEN_AI_OUTPUT_MESSAGES, _words("assistant", turn.output))
        status = _status(attributes, turn.outcome, turn.error_type, turn.error_message)
        self._writer.end(span, event.time_ns, status)
        self._instruments.turn(turn, *_exemplar(span.context))

    # -- calls -------------------------------------------------------------------------------

    def _call_ended(self, event: ev.CallEnded) -> None:
        call = event.call
        if call.opens_turn and call.turn is not None:
            self._instruments.call(call, *_exemplar(call.turn.handle.context))
            return
        attributes: Attributes = {
            self._method_attribute: call.method,
            semconv.JSONRPC_REQUEST_ID: str(call.id),
            semconv.REQUEST_SIZE: call.request_bytes,
            semconv.RESPONSE_SIZE: call.response_bytes,
        }
        if call.versioned:
            attributes[semconv.JSONRPC_PROTOCOL_VERSION] = "2.0"
        name = call.method
        if call.tool is not None:
            name = f"{call.method} {call.tool.name}"
            attributes[semconv.GEN_AI_OPERATION_NAME] = semconv.EXECUTE_TOOL
            self._describe_tool(attributes, call.tool)
        if call.outcome is not Outcome.COMPLETED:
            attributes[semconv.CALL_OUTCOME] = str(call.outcome)
            if call.error_code is not None:
                attributes[semconv.RPC_RESPONSE_STATUS_CODE] = str(call.error_code)
        links = []
        if call.trace is not None and call.turn is not None:
            links.append(_link(call.turn.handle.context, "turn"))
        span = self._start(
            call.session,
            name[:_MAX_NAME],
            _KINDS[call.direction],
            call.started_ns,
            self._parent(call.trace, call.turn),
            attributes,
            links,
        )
        status = _status(attributes, call.outcome, call.error_type, call.error_message)
        self._writer.end(span, event.time_ns, status)
        exemplar = _exemplar(span.context)
        self._instruments.call(call, *exemplar)
        if call.tool is not None:
            self._instruments.tool(call.tool, *exemplar)

    # -- tools, streams, single messages ------------------------------------------------------

    def _tool_ended(self, event: ev.ToolEnded) -> None:
        tool = event.tool
        if tool.is_call:
            return  # the span of its request says it all
        attributes: Attributes = {
            semconv.GEN_AI_OPERATION_NAME: semconv.EXECUTE_TOOL,
            semconv.TOOL_TIMING: "reported" if tool.reported else "observed",
        }
        self._describe_tool(attributes, tool)
        span = self._start(
            tool.session,
            f"{semconv.EXECUTE_TOOL} {tool.name}"[:_MAX_NAME],
            SpanKind.INTERNAL,
            tool.started_ns,
            self._parent(None, tool.turn),
            attributes,
        )
        status = _status(attributes, tool.outcome, tool.error_type, tool.error_message)
        self._writer.end(span, event.time_ns, status)
        self._instruments.tool(tool, *_exemplar(span.context))

    def _describe_tool(self, attributes: Attributes, tool: Tool) -> None:
        attributes[semconv.GEN_AI_TOOL_NAME] = tool.name
        attributes[semconv.TOOL_OUTCOME] = str(tool.outcome)
        if tool.id is not None:
            attributes[semconv.GEN_AI_TOOL_CALL_ID] = tool.id
        if tool.kind is not None:
            attributes[semconv.TOOL_KIND] = tool.kind
        self._capture(attributes, semconv.GEN_AI_TOOL_CALL_ARGUMENTS, tool.arguments)
        self._capture(attributes, semconv.GEN_AI_TOOL_CALL_RESULT, tool.result)

    def _stream_ended(self, event: ev.StreamEnded) -> None:
        stream = event.stream
        attributes = self._stream_attributes(stream)
        attributes[semconv.STREAM_CHUNKS] = stream.count
        attributes[semconv.STREAM_BYTES] = stream.bytes
        attributes[semconv.STREAM_GAP] = stream.longest_gap_ns / 1e9
        if stream.since_ns is not None:
            attributes[semconv.STREAM_FIRST] = (stream.first_ns - stream.since_ns) / 1e9
        span = self._start(
            stream.session,
            stream.method[:_MAX_NAME],
            _KINDS[stream.direction],
            stream.first_ns,
            self._parent(None, stream.turn),
            attributes,
        )
        self._writer.end(span, stream.last_ns)

    def _stream_advanced(self, event: ev.StreamAdvanced) -> None:
        stream = event.stream
        self._point(
            stream.session,
            stream.method,
            _KINDS[stream.direction],
            event.time_ns,
            self._parent(None, stream.turn),
            self._stream_attributes(stream),
        )

    def _stream_attributes(self, stream: Stream) -> Attributes:
        return {
            self._method_attribute: stream.method,
            semconv.MESSAGE_TYPE: "stream",
            semconv.STREAM_KIND: stream.kind,
        }

    def _notification(self, event: ev.NotificationSeen) -> None:
        message = event.message
        name = message.method or ""
        attributes = self._single(message)
        attributes[self._method_attribute] = name
        parent = self._parent(None, event.turn)
        self._point(
            event.session, name, _KINDS[message.direction], event.time_ns, parent, attributes
        )

    def _stray(self, event: ev.StraySeen) -> None:
        message = event.message
        unknown = message.type is MessageType.UNKNOWN
        attributes = self._single(message)
        status = UNSET
        if isinstance(message.id, str | int | float):
            attributes[semconv.JSONRPC_REQUEST_ID] = str(message.id)
        if event.cancelled is not None:  # what the answer says does not matter any more
            attributes[self._method_attribute] = event.cancelled
            attributes[semconv.CALL_OUTCOME] = str(Outcome.CANCELLED)
        elif message.type is MessageType.ERROR:
            error = message.rpc_error()
            code = "malformed_error" if error.code is None else str(error.code)
            status = _status(attributes, Outcome.FAILED, code, error.message)
        self._point(
            event.session,
            semconv.SPAN_UNKNOWN if unknown else semconv.SPAN_UNMATCHED,
            _KINDS[message.direction],
            event.time_ns,
            self._parent(None, event.turn),
            attributes,
            status=status,
        )

    @staticmethod
    def _single(message: InterceptedMessage) -> Attributes:
        return {
            semconv.MESSAGE_TYPE: message.type.value,
            semconv.MESSAGE_DIRECTION: message.direction.value,
            semconv.MESSAGE_SIZE: message.size,
        }

    def _message(self, event: ev.MessageSeen) -> None:
        self._instruments.message(event.message)

    def _usage(self, event: ev.UsageReported) -> None:
        self._instruments.tokens(event.session.agent, event.input_tokens, event.output_tokens)

    # -- common ------------------------------------------------------------------------------

    def _start(
        self,
        session: SessionInfo,
        name: str,
        kind: SpanKind,
        start_ns: int,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> OpenSpan:
        if session.id != self._shared_id:  # what spans share changes only with the session
            self._shared_id = session.id
            self._shared = SharedAttributes({**self._constant, semconv.SESSION_ID: session.id})
        return self._writer.start(name, kind, start_ns, parent, self._shared, attributes, links)

    def _parent(self, trace: TraceContext | None, turn: Turn | None) -> SpanContext | None:
        sent = None if trace is None else span_context(trace)
        if sent is not None:
            return sent
        if turn is not None:
            handle: OpenSpan = turn.handle
            return handle.context
        return self._outer

    def _point(
        self,
        session: SessionInfo,
        name: str,
        kind: SpanKind,
        time_ns: int,
        parent: SpanContext | None,
        attributes: Attributes,
        links: list[Link] | None = None,
        status: Status = UNSET,
    ) -> None:
        span = self._start(
            session, name[:_MAX_NAME], kind, time_ns, parent, attributes, links or ()
        )
        self._writer.end(span, time_ns, status)

    def _capture(self, attributes: Attributes, name: str, value: Any) -> None:
        if self._options.capture_content and value is not None:
            attributes[name] = content(value, self._options.content_limit)


def span_context(trace: TraceContext) -> SpanContext | None:
    """Read a W3C trace context; None if it is not valid.

    Flags other than `sampled` are accepted (level 2 of the specification adds one).
    """
    carrier = {"traceparent": trace.traceparent, "tracestate": trace.tracestate}
    context = get_current_span(_propagator.extract(carrier)).get_span_context()
    return context if context.is_valid else None


def _words(role: str, text: str | None) -> list[dict[str, Any]] | None:
    """Return a GenAI message of one text part."""
    return (text and [{"role": role, "parts": [{"type": "text", "content": text}]}]) or None


def _link(context: SpanContext, kind: str) -> Link:
    return Link(context, {semconv.LINK_TYPE: kind})


def _exemplar(context: SpanContext) -> tuple[int, int]:
    return (context.trace_id, context.span_id) if context.trace_flags & 1 else (0, 0)


def _status(
    attributes: Attributes, outcome: Outcome | None, error_type: str | None, message: str
) -> Status:
    """Note the error, and return the status that it means; a cancelled call is no error."""
    if error_type is not None:
        attributes[semconv.ERROR_TYPE] = error_type
    return Status(StatusCode.ERROR, message or error_type) if outcome in _ERRORS else UNSET
