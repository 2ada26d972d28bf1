"""Streams and messages that stand alone -> spans; and every message -> a count."""

from __future__ import annotations

from debbie_otel import semconv
from debbie_otel.session import events as ev
from debbie_otel.session.message import InterceptedMessage, MessageType
from debbie_otel.session.model import Outcome, Stream
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.connection_spans import ConnectionSpans, RecorderOptions, status_of
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.spans import UNSET


class MessageRecorder:
    """Records what is neither a request nor its response, and counts all there is.

    Args:
        spans: Those of the connection.
        instruments: Where measurements go.
        options: How the chunks of a stream become spans.

    """

    def __init__(
        self, spans: ConnectionSpans, instruments: Instruments, options: RecorderOptions
    ) -> None:
        self._spans = spans
        self._instruments = instruments
        self._chunks = options.stream_chunks

    def stream_ended(self, event: ev.StreamEnded) -> None:
        """Record a run of chunks as one span, where that is asked for."""
        if self._chunks != "fold":
            return
        stream = event.stream
        attributes = self._stream_attributes(stream)
        attributes[semconv.STREAM_CHUNKS] = stream.count
        attributes[semconv.STREAM_BYTES] = stream.bytes
        attributes[semconv.STREAM_GAP] = stream.longest_gap_ns / 1e9
        if stream.since_ns is not None:
            attributes[semconv.STREAM_FIRST] = (stream.first_ns - stream.since_ns) / 1e9
        span = self._spans.start(
            stream.session,
            stream.method,
            self._spans.kinds[stream.direction],
            stream.first_ns,
            self._spans.parent(None, stream.turn),
            attributes,
        )
        self._spans.end(span, stream.last_ns)

    def stream_advanced(self, event: ev.StreamAdvanced) -> None:
        """Record a chunk as a span of its own, where that is asked for."""
        if self._chunks != "span":
            return
        stream = event.stream
        span = self._spans.start(
            stream.session,
            stream.method,
            self._spans.kinds[stream.direction],
            event.time_ns,
            self._spans.parent(None, stream.turn),
            self._stream_attributes(stream),
        )
        self._spans.end(span, event.time_ns)

    def _stream_attributes(self, stream: Stream) -> Attributes:
        return {
            self._spans.method_attribute: stream.method,
            semconv.MESSAGE_TYPE: "stream",
            semconv.STREAM_KIND: stream.kind,
        }

    def notification_seen(self, event: ev.NotificationSeen) -> None:
        """Record a notification."""
        message = event.message
        name = message.method or ""
        attributes = self._single(message)
        attributes[self._spans.method_attribute] = name
        if event.call is None:
            parent = self._spans.parent(None, event.turn)
        else:
            parent = self._spans.call_context(event.call)
        kind = self._spans.kinds[message.direction]
        span = self._spans.start(event.session, name, kind, event.time_ns, parent, attributes)
        self._spans.end(span, event.time_ns)

    def stray_seen(self, event: ev.StraySeen) -> None:
        """Record what answers no request, or is not JSON-RPC."""
        message = event.message
        unknown = message.type is MessageType.UNKNOWN
        attributes = self._single(message)
        status = UNSET
        if message.raw_id is not None and message.id is not None:
            attributes[semconv.JSONRPC_REQUEST_ID] = str(message.id)
        if event.cancelled is not None:  # what the answer says does not matter any more
            attributes[self._spans.method_attribute] = event.cancelled
            attributes[semconv.CALL_OUTCOME] = str(Outcome.CANCELLED)
        elif message.type is MessageType.ERROR:
            error = message.error_object()
            code = "malformed_error" if error.code is None else str(error.code)
            status = status_of(attributes, Outcome.FAILED, code, error.message)
        span = self._spans.start(
            event.session,
            semconv.SPAN_UNKNOWN if unknown else semconv.SPAN_UNMATCHED,
            self._spans.kinds[message.direction],
            event.time_ns,
            self._spans.parent(None, event.turn),
            attributes,
        )
        self._spans.end(span, event.time_ns, status)

    @staticmethod
    def _single(message: InterceptedMessage) -> Attributes:
        return {
            semconv.MESSAGE_TYPE: message.type.value,
            semconv.MESSAGE_DIRECTION: message.direction.value,
            semconv.MESSAGE_SIZE: message.size,
        }

    def usage_reported(self, event: ev.UsageReported) -> None:
        """Count tokens."""
        self._instruments.tokens(event.session.agent, event.input_tokens, event.output_tokens)
