"""Requests with their responses, and tools -> spans and metrics."""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from debbie_otel import semconv
from debbie_otel.session import events as ev
from debbie_otel.session.model import Outcome, Tool
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.connection_spans import ConnectionSpans, status_of
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.spans import UNSET
from debbie_otel.telemetry.traces import Traces

# Module names: in Python 3.11 a member costs 0.1 µs through its enum, and these are the hot path.
_SERVER, _COMPLETED = SpanKind.SERVER, Outcome.COMPLETED


class CallRecorder:
    """Records calls and tools, each as one span when it has ended.

    Args:
        spans: Those of the connection.
        instruments: Where measurements go.
        traces: Spans that have begun.

    """

    def __init__(self, spans: ConnectionSpans, instruments: Instruments, traces: Traces) -> None:
        self._spans = spans
        self._instruments = instruments
        self._turns = traces.turns
        self._opened = traces.calls

    def call_ended(self, event: ev.CallEnded) -> None:
        """Record a request with its response."""
        call = event.call
        turn, tool = call.turn, call.tool
        kind = self._spans.kinds[call.direction]
        served = kind is _SERVER
        if call.opens_turn and turn is not None:
            turn_span = self._turns.get(turn)
            exemplar = (0, 0) if turn_span is None else turn_span.exemplar
            self._instruments.call(call, served, *exemplar)
            return
        attributes: Attributes = {
            semconv.JSONRPC_REQUEST_ID: str(call.id),
            semconv.REQUEST_SIZE: call.request_bytes,
            semconv.RESPONSE_SIZE: call.response_bytes,
        }
        if call.injected:
            attributes[semconv.INJECTED] = True
        status = UNSET
        if tool is not None:
            attributes[semconv.GEN_AI_OPERATION_NAME] = semconv.EXECUTE_TOOL
            self._describe_tool(attributes, tool)
        if call.outcome is not _COMPLETED:
            attributes[semconv.CALL_OUTCOME] = str(call.outcome)
            if call.error_code is not None:
                attributes[semconv.RPC_RESPONSE_STATUS_CODE] = str(call.error_code)
            status = status_of(attributes, call.outcome, call.error_type, call.error_message)
        span = self._opened.get(call) if self._opened.entries else None
        if span is None:
            span = self._spans.open_call(call, attributes)
        else:
            span.attributes.update(attributes)
        self._spans.end(span, event.time_ns, status)
        trace_id, span_id = (span.trace_id, span.span_id) if span.sampled else (0, 0)
        self._instruments.call(call, served, trace_id, span_id)
        if tool is not None:
            self._instruments.tool(tool, trace_id, span_id)

    def tool_ended(self, event: ev.ToolEnded) -> None:
        """Record a tool that is not a request of its own."""
        tool, spans = event.tool, self._spans
        if tool.is_call:
            return  # the span of its request says it all
        attributes: Attributes = {
            semconv.GEN_AI_OPERATION_NAME: semconv.EXECUTE_TOOL,
            semconv.TOOL_TIMING: "reported" if tool.reported else "observed",
        }
        self._describe_tool(attributes, tool)
        span = spans.start(
            tool.session,
            f"{semconv.EXECUTE_TOOL} {tool.name}",
            SpanKind.INTERNAL,
            tool.started_ns,
            spans.parent(None, tool.turn),
            attributes,
        )
        status = status_of(attributes, tool.outcome, tool.error_type, tool.error_message)
        spans.end(span, event.time_ns, status)
        self._instruments.tool(tool, *span.exemplar)

    def _describe_tool(self, attributes: Attributes, tool: Tool) -> None:
        attributes[semconv.GEN_AI_TOOL_NAME] = tool.name
        attributes[semconv.TOOL_OUTCOME] = str(tool.outcome)
        if tool.id is not None:
            attributes[semconv.GEN_AI_TOOL_CALL_ID] = tool.id
        if tool.kind is not None:
            attributes[semconv.TOOL_KIND] = tool.kind
        self._spans.capture(attributes, semconv.GEN_AI_TOOL_CALL_ARGUMENTS, tool.arguments)
        self._spans.capture(attributes, semconv.GEN_AI_TOOL_CALL_RESULT, tool.result)
