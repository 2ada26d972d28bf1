"""WebSocketInterceptor: everything that is known and recorded of one connection.

Bytes (from the tap) or messages (from inside a process, from a recording) go in; events go to the
recorder of spans and metrics and to the monitor's subscribers. Nothing here can fail towards the
wire: an exception costs what it was about to record, a log line and a count.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from debbie_otel import semconv
from debbie_otel.clock import Clock
from debbie_otel.core.connection import Connection
from debbie_otel.core.dialect import Dialect
from debbie_otel.core.events import Event
from debbie_otel.core.message import (
    InterceptedMessage,
    MessageDirection,
    parse_head,
    parse_payload,
)
from debbie_otel.core.model import TraceContext
from debbie_otel.core.wire import HandshakeSeen, PayloadSeen, PayloadSkipped, WireObserver
from debbie_otel.failopen import FailOpen
from debbie_otel.monitor import DebbieMonitor
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.recorder import Recorder

PayloadSink = Callable[[int, str, MessageDirection, bytes], None]
"""Takes time (ns), connection, direction and payload of each message: a recording."""


class Dialects(msgspec.Struct, frozen=True):
    """What a connection may speak.

    Attributes:
        known: By name.
        chosen: The one to use; None to recognise it by the messages.

    """

    known: dict[str, Dialect]
    chosen: str | None = None

    @property
    def candidates(self) -> tuple[Dialect, ...]:
        """The dialects to tell apart."""
        if self.chosen is not None:
            return (self.known[self.chosen],)
        return tuple(dialect for dialect in self.known.values() if dialect.document.detect)

    @property
    def fallback(self) -> Dialect:
        """What holds while nothing is recognised."""
        return self.known["generic"]


class WebSocketInterceptor:
    """Observer of one connection.

    Args:
        key: Name of the connection, unique in the process.
        dialects: What it may speak.
        monitor: Keeps the live sessions.
        hub: Where telemetry goes; None records none.
        clock: Tells the time.
        guard: What happens when our own code fails.
        attributes: Of every span of the connection (`server.address` and so on).
        sink: Gets every payload, for a recording.
        max_message_size: Bytes; larger messages pass uninspected.
        on_close: Told when the connection has ended.

    """

    def __init__(
        self,
        key: str,
        *,
        dialects: Dialects,
        monitor: DebbieMonitor,
        hub: TelemetryHub | None,
        clock: Clock,
        guard: FailOpen,
        attributes: Attributes | None = None,
        sink: PayloadSink | None = None,
        max_message_size: int = 8 * 2**20,
        on_close: Callable[[WebSocketInterceptor], None] = lambda _: None,
    ) -> None:
        self.connection = Connection(key, dialects.candidates, dialects.fallback, monitor.sessions)
        self._monitor = monitor
        self._hub = hub
        self._clock = clock
        self._guard = guard
        self._attributes = attributes or {}
        self._sink = sink
        self._on_close = on_close
        self._open = True
        self._wire = WireObserver(max_message_size=max_message_size)
        self._trace: TraceContext | None = None
        self._recorder: Recorder | None = None
        self._recorder_dialect = ""
        monitor.opened(self.connection)

    # -- bytes -------------------------------------------------------------------------------

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        """Look at bytes that have been passed on."""
        try:
            events = self._wire.receive_data(direction, data)
            if not events and self._wire.blind is None:
                return
            now = self._clock()
            for event in events:
                if type(event) is PayloadSeen:
                    self.message_received(event.direction, event.payload, now)
                elif type(event) is HandshakeSeen:
                    self._handshake(event)
                elif type(event) is PayloadSkipped:
                    self._count_uninspected(event.reason)
                    message = parse_head(event.head, event.size, direction, now)
                    self._take_in([] if message is None else [message])
            if self._wire.blind is not None and self._open:
                self._go_blind(self._wire.blind, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the bytes have gone through
            self._guard.failed("inspection of a connection", error)

    def eof_received(self, direction: MessageDirection) -> None:
        """Take note that one side sends no more."""

    def closed(self, error: str | None) -> None:
        """End everything that was open on the connection."""
        self.close(self._clock(), "disconnected" if error is None else "connection_lost")

    # -- messages ----------------------------------------------------------------------------

    def message_received(self, direction: MessageDirection, payload: bytes, time_ns: int) -> None:
        """Take in the payload of one whole WebSocket message."""
        if self._sink is not None:
            with self._guard("the recording"):
                self._sink(time_ns, self.connection.key, direction, payload)
        try:
            self._take_in(parse_payload(payload, direction, time_ns))
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self._guard.failed("the session model", error)

    def expire(self, now_ns: int) -> None:
        """Give up calls that have waited for longer than the limit."""
        events: list[Event] = []
        with self._guard("the session model"):
            self.connection.expire(now_ns, events)
        self._emit(events)

    def close(self, time_ns: int, reason: str) -> None:
        """End the connection: open spans end as aborted. Once is enough."""
        if not self._open:
            return
        self._open = False
        events: list[Event] = []
        with self._guard("the session model"):
            self.connection.close(time_ns, reason, events)
        self._emit(events)
        self._monitor.closed(self.connection)
        self._on_close(self)

    # -- inside ------------------------------------------------------------------------------

    def _emit(self, events: list[Event]) -> None:
        recorder = self._current_recorder()
        if recorder is not None:
            handlers = recorder.handlers
            for event in events:
                handler = handlers.get(type(event))
                if handler is None:
                    continue
                try:
                    handler(event)
                except Exception as error:  # noqa: BLE001 - one event must not cost the next
                    self._guard.failed("the recording of a span", error)
        self._monitor.publish(events)

    def _current_recorder(self) -> Recorder | None:
        dialect = self.connection.dialect
        if self._hub is not None and self._recorder_dialect != dialect.name:
            self._recorder_dialect = dialect.name
            with self._guard("the set-up of telemetry"):
                self._recorder = self._make_recorder(self._hub)
        return self._recorder

    def _make_recorder(self, hub: TelemetryHub) -> Recorder:
        dialect = self.connection.dialect
        service = hub.service(dialect)
        return Recorder(
            service.writer,
            service.instruments,
            hub.options,
            {
                **self._attributes,
                semconv.RPC_SYSTEM_NAME: "jsonrpc",
                semconv.NETWORK_PROTOCOL_NAME: "websocket",
                semconv.DIALECT: dialect.name,
                semconv.CONNECTION_ID: self.connection.key,
            },
            trace=self._trace,
            mcp=dialect.document.rpc_system == "mcp",
        )

    def _handshake(self, event: HandshakeSeen) -> None:
        handshake = event.handshake
        if handshake.subprotocol is not None:
            self.connection.recognise_subprotocol(handshake.subprotocol)
        headers = {name.lower(): value for name, value in handshake.request_headers}
        parent = headers.get(b"traceparent")
        if parent is not None:
            state = headers.get(b"tracestate", b"")
            self._trace = TraceContext(parent.decode("latin-1"), state.decode("latin-1"))

    def _take_in(self, messages: list[InterceptedMessage]) -> None:
        events: list[Event] = []
        try:
            for message in messages:
                self.connection.receive(message, events)
        finally:
            self._emit(events)

    def _go_blind(self, reason: str, now_ns: int) -> None:
        """End what is open: the bytes go on, but nothing more will be seen of them."""
        self._guard.tell(reason, f"{self.connection.key} passes uninspected from now on: {reason}")
        self._count_uninspected(reason)
        self.close(now_ns, "uninspected")

    def _count_uninspected(self, reason: str) -> None:
        if self._hub is not None:
            self._hub.service(self.connection.dialect).instruments.uninspected.add((reason,))
