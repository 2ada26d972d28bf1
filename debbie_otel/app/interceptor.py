"""WebSocketInterceptor: everything that is known and recorded of one connection.

Bytes (from the tap) or messages (from inside a process, from a recording) go in; events go to the
recorder of spans and metrics and to the monitor's subscribers. Nothing here can fail towards the
wire: an exception costs what it was about to record, a log line and a count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from debbie_otel import semconv
from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.channel import Channel
from debbie_otel.session.connection import Connection
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.registry import Dialects
from debbie_otel.session.encode import stand_in
from debbie_otel.session.event_bus import EventBus, Unsubscribe
from debbie_otel.session.events import Event
from debbie_otel.session.message import parse_head, parse_payload
from debbie_otel.session.model import Clock, TraceContext
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.connection_spans import ConnectionFacts
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.recorder import Recorder
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import TOO_LARGE
from debbie_otel.wire.observer import (
    CloseSeen,
    HandshakeSeen,
    PayloadSeen,
    PayloadSkipped,
    WireObserver,
)

PayloadSink = Callable[[int, str, MessageDirection, bytes], None]
"""Takes time (ns), connection, direction and payload of each message: a recording. Of what is too
large to keep it gets a stand-in, so that calls are answered in it, too."""


def _nothing() -> None:
    """End nothing: there is no recorder yet."""


class InterceptorParts(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What all interceptors of one Debbie share.

    Attributes:
        dialects: What connections may speak.
        monitor: Knows what is alive, and tells of events.
        hub: Where telemetry goes; None records none.
        clock: Tells the time.
        guard: What happens when Debbie's own code fails.
        sink: Gets every payload, for a recording.
        max_message_size: Bytes; larger messages pass uninspected.
        on_close: Told when a connection has ended.

    """

    dialects: Dialects
    monitor: DebbieMonitor
    clock: Clock
    guard: FailOpen
    hub: TelemetryHub | None = None
    sink: PayloadSink | None = None
    max_message_size: int = 8 * 2**20
    on_close: Callable[[WebSocketInterceptor], None] = lambda _: None


class WebSocketInterceptor:
    """Observer of one connection.

    Args:
        key: Name of the connection, unique in the process.
        parts: What it shares with the others.
        attributes: Of every span of the connection (`server.address` and so on).
        side: Where it observes: at the server's door, or in the client's process.

    Attributes:
        connection: The model of it.
        channel: The way to act on it; None where there is none.
        leaving: The client has sent its close frame.
        abandoned: The connection is gone without a word, and is to be closed by the next sweep.

    """

    def __init__(
        self,
        key: str,
        parts: InterceptorParts,
        attributes: Attributes | None = None,
        side: Literal["client", "server"] = "server",
    ) -> None:
        dialects = parts.dialects
        self._live = parts.monitor.live
        self.connection = Connection(
            key, dialects.candidates, dialects.fallback, self._live.sessions
        )
        self._hub = parts.hub
        self.clock = parts.clock
        self.guard = parts.guard
        self.max_message_size = parts.max_message_size
        self.channel: Channel | None = None
        self.leaving = False
        self.abandoned = False
        self._attributes = attributes or {}
        self._sink = parts.sink
        self._on_close = parts.on_close
        self._side = side
        self._open = True
        self._wire = WireObserver(max_message_size=parts.max_message_size)
        self._trace: TraceContext | None = None
        self._spoken: Dialect | None = None
        self._events = EventBus(parts.guard, onward=parts.monitor.events)
        self._end_recording: Unsubscribe = _nothing
        self._live.add(self.connection)

    # -- bytes -------------------------------------------------------------------------------

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        """Look at bytes that have been passed on."""
        try:
            events = self._wire.receive_data(direction, data)
            if not events and self._wire.inspection_stopped is None:
                return
            now = self.clock()
            for event in events:
                if type(event) is PayloadSeen:
                    self.message_received(event.direction, event.payload, now)
                elif type(event) is HandshakeSeen:
                    handshake = event.handshake
                    self.handshake_received(handshake.subprotocol, handshake.request_headers)
                elif type(event) is PayloadSkipped:
                    self.message_skipped(
                        direction, event.head, event.size, now, event.reason, event.tail
                    )
                elif type(event) is CloseSeen:
                    self.leaving = self.leaving or direction is MessageDirection.CLIENT_TO_SERVER
            if self._wire.inspection_stopped is not None and self._open:
                self._stop_inspecting(self._wire.inspection_stopped, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the bytes have gone through
            self.guard.failed("inspection of a connection", error)

    @property
    def wire(self) -> WireObserver:
        """What the bytes of the connection have been so far; see `WireObserver.parser`."""
        return self._wire

    def cannot_follow(self, reason: str) -> None:
        """Give up: what is shown the bytes in its place cannot follow them any more."""
        if self._wire.inspection_stopped is None:
            self._wire.stop_inspecting(reason)
            if self._open:
                self._stop_inspecting(reason, self.clock())

    def closed(self, error: str | None) -> None:
        """End everything that was open on the connection."""
        self.close(self.clock(), "disconnected" if error is None else "connection_lost")

    # -- messages ----------------------------------------------------------------------------

    def handshake_received(
        self, subprotocol: str | None, request_headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Take note of what the handshake says of the dialect and of the caller's trace.

        Args:
            subprotocol: The one that the server selected.
            request_headers: Names in any case.

        """
        if subprotocol is not None:
            self.connection.recognise_subprotocol(subprotocol)
        headers = {name.lower(): value for name, value in request_headers}
        parent = headers.get(b"traceparent")
        if parent is not None:
            state = headers.get(b"tracestate", b"")
            self._trace = TraceContext(parent.decode("latin-1"), state.decode("latin-1"))

    def message_received(self, direction: MessageDirection, payload: bytes, time_ns: int) -> None:
        """Take in the payload of one whole WebSocket message; nothing once it is closed."""
        if not self._open:
            return
        if self._sink is not None:
            with self.guard("the recording"):
                self._sink(time_ns, self.connection.key, direction, payload)
        events: list[Event] = []
        try:
            try:
                for message in parse_payload(payload, direction, time_ns):
                    self.connection.receive(message, events)
            finally:
                self._emit(events)
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self.guard.failed("the session model", error)

    def server_replaced(self) -> None:
        """Take note that the server has been replaced by one that knows nothing of before."""
        events: list[Event] = []
        with self.guard("the session model"):
            self.connection.renew(self.clock(), events)
            self._emit(events)

    def message_skipped(
        self,
        direction: MessageDirection,
        head: bytes,
        size: int,
        time_ns: int,
        reason: str = TOO_LARGE,
        tail: bytes = b"",
    ) -> None:
        """Take note of a message that was not kept, by how it begins and ends."""
        if not self._open:
            return
        try:
            self._count_uninspected(reason)
            message = parse_head(head, size, direction, time_ns, tail)
            if message is not None and self._sink is not None:
                with self.guard("the recording"):
                    self._sink(time_ns, self.connection.key, direction, stand_in(message))
            events: list[Event] = []
            try:
                if message is not None:
                    self.connection.receive(message, events)
            finally:
                self._emit(events)
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self.guard.failed("the session model", error)

    def abandon(self) -> None:
        """Mark it as abandoned: all that may be done in the midst of a garbage collection."""
        self.abandoned = True

    def expire(self, now_ns: int) -> None:
        """Give up calls that have waited for longer than the limit."""
        events: list[Event] = []
        with self.guard("the session model"):
            self.connection.expire(now_ns, events)
        self._emit(events)

    def close(self, time_ns: int, reason: str) -> None:
        """End the connection: open spans end as aborted. Once is enough."""
        if not self._open:
            return
        self._open = False
        events: list[Event] = []
        with self.guard("the session model"):
            self.connection.close(time_ns, reason, events)
        self._emit(events)
        self._live.remove(self.connection)
        self._on_close(self)

    # -- inside ------------------------------------------------------------------------------

    def _emit(self, events: list[Event]) -> None:
        if self._spoken is not self.connection.dialect:
            self._change_recorder()
        self._events.publish_all(events)

    def _change_recorder(self) -> None:
        self._spoken = self.connection.dialect
        if self._hub is not None:
            with self.guard("the set-up of telemetry"):
                recorder = self._make_recorder(self._hub)
                self._end_recording()
                self._end_recording = recorder.subscribe_to(self._events)

    def _make_recorder(self, hub: TelemetryHub) -> Recorder:
        dialect = self.connection.dialect
        attributes: Attributes = {
            **self._attributes,
            semconv.RPC_SYSTEM_NAME: "jsonrpc",
            semconv.NETWORK_PROTOCOL_NAME: "websocket",
            semconv.DIALECT: dialect.name,
            semconv.CONNECTION_ID: self.connection.key,
        }
        mcp = dialect.document.rpc_system == "mcp"
        return hub.recorder(dialect, ConnectionFacts(attributes, self._trace, mcp, self._side))

    def _stop_inspecting(self, reason: str, now_ns: int) -> None:
        """End what is open: the bytes go on, but nothing more will be seen of them."""
        self.guard.tell(reason, f"{self.connection.key} passes uninspected from now on: {reason}")
        self._count_uninspected(reason)
        self.close(now_ns, "uninspected")

    def _count_uninspected(self, reason: str) -> None:
        if self._hub is not None:
            self._hub.service(self.connection.dialect).instruments.uninspected.add((reason,))
