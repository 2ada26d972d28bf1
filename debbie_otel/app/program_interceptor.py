"""ProgramInterceptor: an interceptor inside a program, whose messages may come on any thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from opentelemetry.context import get_current
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from debbie_otel.app.ingest_queue import IngestQueue
from debbie_otel.app.interceptor import InterceptorParts, WebSocketInterceptor
from debbie_otel.session.model import TraceContext
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import TOO_LARGE

AT_ONCE = 32
"""Messages of a connection that are taken in at once: they tell how the others are to be seen."""
_propagator = TraceContextTextMapPropagator()


class ProgramInterceptor(WebSocketInterceptor):
    """Observer of a connection inside a program.

    Sessions and measurements are shared by connections, whose messages may come on any thread: one
    lock for all of them. What the program sends within a span of its own belongs to that span.

    Args:
        key: Name of the connection.
        parts: What it shares with the others.
        queue: Of all interceptors of one Debbie: messages are taken in a little later.
        side: What the program is to the connection.
        attributes: Of every span of the connection.
        at_once: How many messages are taken in at once, in the beginning.

    """

    def __init__(
        self,
        key: str,
        parts: InterceptorParts,
        queue: IngestQueue,
        side: Literal["client", "server"],
        attributes: Attributes | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self.lock = queue.lock
        self.catch_up = queue.catch_up
        up, down = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
        self._sent = up if side == "client" else down
        self._note = queue.note
        self._at_once = at_once
        with self.lock:
            super().__init__(key, parts, attributes, side)

    def handshake_received(
        self, subprotocol: str | None, request_headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Take note of what the handshake says."""
        with self.lock:
            self.catch_up()
            super().handshake_received(subprotocol, request_headers)

    def message_received(self, direction: MessageDirection, payload: bytes, time_ns: int) -> None:
        """Take in the payload of one whole WebSocket message, perhaps a bit later."""
        caller = _caller() if direction is self._sent else None
        self._note(self, direction, payload, time_ns, caller)
        if self._at_once:
            self._at_once -= 1
            self.catch_up()

    def take_in(
        self, direction: MessageDirection, payload: bytes, time_ns: int, caller: TraceContext | None
    ) -> None:
        """Take in the payload of a message now; see `IngestQueue`, which holds the lock."""
        self.connection.caller = caller
        super().message_received(direction, payload, time_ns)
        self.connection.caller = None

    def message_skipped(
        self,
        direction: MessageDirection,
        head: bytes,
        size: int,
        time_ns: int,
        reason: str = TOO_LARGE,
        tail: bytes = b"",
    ) -> None:
        """Take note of a message that was not kept."""
        with self.lock:
            self.catch_up()
            super().message_skipped(direction, head, size, time_ns, reason, tail)

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
