"""WebSocketInterceptor: everything that is known and recorded of one connection.

Bytes (from the tap) or messages (from inside a process, from a recording) go in; events go to the
recorder of spans and metrics and to the monitor's subscribers. Nothing here can fail towards the
wire: an exception costs what it was about to record, a log line and a count.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec
from opentelemetry.context import get_current
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from debbie_otel import semconv
from debbie_otel.clock import Clock
from debbie_otel.core.connection import Connection
from debbie_otel.core.dialect import Dialect
from debbie_otel.core.events import Event
from debbie_otel.core.frames import TOO_LARGE
from debbie_otel.core.message import (
    MessageDirection,
    parse_head,
    parse_payload,
)
from debbie_otel.core.model import TraceContext
from debbie_otel.core.wire import HandshakeSeen, PayloadSeen, PayloadSkipped, WireObserver
from debbie_otel.failopen import FailOpen
from debbie_otel.intervention.channel import Channel
from debbie_otel.monitor import DebbieMonitor
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.recorder import Recorder

_propagator = TraceContextTextMapPropagator()
_MAX_WAITING = 64  # messages that were sent and are not taken in yet
_SMALL = 65_536  # bytes; a larger one does not wait
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
        side: Where it observes: at the server's door, or in the client's process.

    Attributes:
        connection: The model of it.
        channel: The way to act on it; None where there is none.
        abandoned: The connection is gone without a word; whoever sweeps up is to close this.

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
        side: Literal["client", "server"] = "server",
    ) -> None:
        self.connection = Connection(key, dialects.candidates, dialects.fallback, monitor.sessions)
        self._monitor = monitor
        self._hub = hub
        self.clock = clock
        self.guard = guard
        self.max_message_size = max_message_size
        self.channel: Channel | None = None
        self.abandoned = False
        self._attributes = attributes or {}
        self._sink = sink
        self._on_close = on_close
        self._side = side
        self._open = True
        self._wire = WireObserver(max_message_size=max_message_size)
        self._trace: TraceContext | None = None
        self._spoken: Dialect | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {}  # the recorder's
        monitor.opened(self.connection)

    # -- bytes -------------------------------------------------------------------------------

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        """Look at bytes that have been passed on."""
        try:
            events = self._wire.receive_data(direction, data)
            if not events and self._wire.blind is None:
                return
            now = self.clock()
            for event in events:
                if type(event) is PayloadSeen:
                    self.message_received(event.direction, event.payload, now)
                elif type(event) is HandshakeSeen:
                    handshake = event.handshake
                    self.handshake_received(handshake.subprotocol, handshake.request_headers)
                elif type(event) is PayloadSkipped:
                    self.message_skipped(direction, event.head, event.size, now, event.reason)
            if self._wire.blind is not None and self._open:
                self._go_blind(self._wire.blind, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the bytes have gone through
            self.guard.failed("inspection of a connection", error)

    @property
    def wire(self) -> WireObserver:
        """What the bytes of the connection have been so far; see `WireObserver.parser`."""
        return self._wire

    def cannot_follow(self, reason: str) -> None:
        """Give up, as whoever is shown the bytes in its place cannot follow them any more."""
        if self._wire.blind is None:
            self._wire.go_blind(reason)
            if self._open:
                self._go_blind(reason, self.clock())

    def eof_received(self, direction: MessageDirection) -> None:
        """Take note that one side sends no more."""

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

    def message_skipped(
        self,
        direction: MessageDirection,
        head: bytes,
        size: int,
        time_ns: int,
        reason: str = TOO_LARGE,
    ) -> None:
        """Take note of a message that was not kept, by how it begins."""
        if not self._open:
            return
        try:
            self._count_uninspected(reason)
            message = parse_head(head, size, direction, time_ns)
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
        self._monitor.closed(self.connection)
        self._on_close(self)

    # -- inside ------------------------------------------------------------------------------

    def _emit(self, events: list[Event]) -> None:
        if self._spoken is not self.connection.dialect:
            self._change_recorder()
        self._monitor.publish(events, self._handlers)

    def _change_recorder(self) -> None:
        self._spoken = self.connection.dialect
        if self._hub is not None:
            with self.guard("the set-up of telemetry"):
                self._handlers = self._make_recorder(self._hub).handlers

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
            side=self._side,
        )

    def _go_blind(self, reason: str, now_ns: int) -> None:
        """End what is open: the bytes go on, but nothing more will be seen of them."""
        self.guard.tell(reason, f"{self.connection.key} passes uninspected from now on: {reason}")
        self._count_uninspected(reason)
        self.close(now_ns, "uninspected")

    def _count_uninspected(self, reason: str) -> None:
        if self._hub is not None:
            self._hub.service(self.connection.dialect).instruments.uninspected.add((reason,))


class SharedInterceptor(WebSocketInterceptor):
    """Observer of a connection inside a program, whose messages may come on any thread.

    Sessions and measurements are shared by connections: one lock for all of them. What the program
    sends within a span of its own belongs to that span.

    What is sent on an event loop is taken in a little later: when the program next gives way, when
    anything is received, or when much waits. Between two system calls our code finds the caches
    cold each time; taken in together, messages that are sent in a row cost several microseconds
    less each.

    Args:
        key: As for any interceptor, with all its other arguments.
        lock: Of all interceptors of one monitor; a reentrant one.
        side: What the program is to the connection.

    """

    def __init__(
        self, key: str, lock: threading.RLock, side: Literal["client", "server"], **options: Any
    ) -> None:
        self.lock = lock
        up, down = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
        self._sent = up if side == "client" else down
        self._waiting: list[tuple[bytes, int, TraceContext | None]] = []
        with lock:
            super().__init__(key, side=side, **options)

    def handshake_received(
        self, subprotocol: str | None, request_headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Take note of what the handshake says."""
        with self.lock:
            self.catch_up()
            super().handshake_received(subprotocol, request_headers)

    def message_received(self, direction: MessageDirection, payload: bytes, time_ns: int) -> None:
        """Take in the payload of one whole WebSocket message; what was sent perhaps a bit later."""
        with self.lock:
            if direction is self._sent:
                self._send_seen(payload, time_ns)
                return
            if self._waiting:
                self.catch_up()
            self._take_in(direction, payload, time_ns)

    _take_in = WebSocketInterceptor.message_received

    def _send_seen(self, payload: bytes, time_ns: int) -> None:
        waiting = self._waiting
        if not waiting:
            try:
                asyncio.get_running_loop().call_soon(self.catch_up)
            except RuntimeError:  # a thread of its own, or trio: nobody would come back to it
                self.connection.caller = _caller()
                self._take_in(self._sent, payload, time_ns)
                self.connection.caller = None
                return
        waiting.append((payload, time_ns, _caller()))
        if len(waiting) >= _MAX_WAITING or len(payload) > _SMALL:
            self.catch_up()

    def catch_up(self) -> None:
        """Take in what was sent and waits for it."""
        with self.lock:
            waiting, self._waiting = self._waiting, []
            for payload, time_ns, caller in waiting:
                self.connection.caller = caller
                self._take_in(self._sent, payload, time_ns)
            self.connection.caller = None

    def message_skipped(
        self,
        direction: MessageDirection,
        head: bytes,
        size: int,
        time_ns: int,
        reason: str = TOO_LARGE,
    ) -> None:
        """Take note of a message that was not kept."""
        with self.lock:
            self.catch_up()
            super().message_skipped(direction, head, size, time_ns, reason)

    def expire(self, now_ns: int) -> None:
        """Give up calls that have waited for longer than the limit."""
        with self.lock:
            self.catch_up()
            super().expire(now_ns)

    def close(self, time_ns: int, reason: str) -> None:
        """End the connection."""
        with self.lock:
            self.catch_up()
            super().close(time_ns, reason)


def _caller() -> TraceContext | None:
    """Return the trace context of the span that the program is in, if any."""
    if not get_current():  # nothing at all is current
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    parent = carrier.get("traceparent")
    return None if parent is None else TraceContext(parent, carrier.get("tracestate", ""))
