"""The link between a connection of websockets and its observer.

Whatever connection it is - asyncio, threads or trio, client or server - it drives one sans-I/O
`websockets.protocol.Protocol`: each frame goes through `send_text`, `send_binary` or
`send_continuation`, and comes out of `events_received`. A link stands before these methods of that
one object. So `send` with all its kinds of payload, `broadcast`, `recv`, `recv_streaming`,
iteration, time limits and cancellation stay the library's own, and messages count when they are on
the wire, not when the program comes to look at them. What a filter holds back was, for the
program, never received.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLOSED, CONNECTING, Event, Protocol, Side

from debbie_otel.transports.program.observed import MessageObserver, Observed, Opening, Watch

_CONT, _TEXT, _BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY  # websockets < 17 has no such names

_HOOKED = (
    "send_request",
    "send_text",
    "send_binary",
    "send_continuation",
    "events_received",
    "receive_eof",
)


class Link(Observed):
    """Stands before a protocol's methods until the connection ends, or `release` is called.

    Args:
        protocol: Of the connection.
        watch: Who observes it.

    Attributes:
        between_messages: Set while no fragmented message is being sent.
        trio_token: The run of trio that it was made in; None elsewhere.

    """

    def __init__(self, protocol: Protocol, watch: Watch) -> None:
        super().__init__("client" if protocol.side is Side.CLIENT else "server", watch)
        self.between_messages = threading.Event()
        self.between_messages.set()
        trio = sys.modules.get("trio")
        self.trio_token: Any = None
        if trio is not None and trio.lowlevel.in_trio_run():
            self.trio_token = trio.lowlevel.current_trio_token()
        self._protocol = protocol
        self._request: Request | None = None
        self._connection: Any = None
        self._fragmented = False  # the program is receiving a message in fragments
        self._postponed: list[Frame] = []
        # What an object of its own has in its place; a class's method is found by itself.
        self._covered = {name: vars(protocol)[name] for name in _HOOKED if name in vars(protocol)}
        self._send_text = protocol.send_text
        self._send_binary = protocol.send_binary
        self._send_continuation = protocol.send_continuation
        self._events_received = protocol.events_received
        self._receive_eof = protocol.receive_eof
        hooks: dict[str, Any] = {
            "send_text": self._on_send_text,
            "send_binary": self._on_send_binary,
            "send_continuation": self._on_send_continuation,
            "events_received": self._on_events_received,
            "receive_eof": self._on_receive_eof,
        }
        if protocol.state is CONNECTING and self.side == "client":
            self._send_request: Any = getattr(protocol, "send_request")  # noqa: B009 - a client's
            hooks["send_request"] = self._on_send_request
        self._hooks = hooks
        vars(protocol).update(hooks)

    @staticmethod
    def of(protocol: Protocol) -> Link | None:
        """Return the link that a protocol has already."""
        found = getattr(vars(protocol).get("events_received"), "__self__", None)
        return found if isinstance(found, Link) else None

    def release(self) -> None:
        """Leave the protocol as it was before, unless somebody else has come to stand before it."""
        for name, hook in self._hooks.items():
            if vars(self._protocol).get(name) is hook:
                del vars(self._protocol)[name]
                if name in self._covered:
                    vars(self._protocol)[name] = self._covered[name]
        self.between_messages.set()
        self.on_end()

    def catch_up(self, request: Request | None, waiting: Iterable[Frame]) -> None:
        """Take in what was there before the link: the handshake, and what nobody has read yet."""
        self._request = self._request or request
        for frame in waiting:
            self._show(frame)

    def open(self) -> MessageObserver | None:
        """Return the observer, asked for once; should the end not be told, it is left marked."""
        opened = self._opened
        interceptor = super().open()
        if interceptor is not None and not opened:
            weakref.finalize(self._protocol, interceptor.abandon).atexit = False
        return interceptor

    @property
    def connection(self) -> Any:
        """The connection that the protocol is of; None where its program brings its own."""
        if self._connection is None:  # websockets tells its loggers, and holds it weakly there
            extra = getattr(self._protocol.logger, "extra", None) or {}
            self._connection = extra.get("websocket")
        return self._connection

    def opening(self) -> Opening:
        """Return what the handshake said."""
        headers = Headers() if self._request is None else self._request.headers
        return Opening(
            side=self.side,
            headers={name.lower(): value for name, value in headers.raw_items()},
            subprotocol=self._protocol.subprotocol,
            link=self,
        )

    # -- hooks -------------------------------------------------------------------------------

    def _on_send_request(self, request: Request) -> None:
        self._request = request
        self._send_request(request)

    def _on_send_text(self, data: bytes, fin: bool = True) -> None:
        if not self.outgoing.is_open:
            self._sift_out(Frame(_TEXT, bytes(data), fin))
            return
        self._send_text(data, fin)
        if fin:
            self.message(self._sent, data)
        else:
            self._begin(data)

    def _on_send_binary(self, data: bytes, fin: bool = True) -> None:
        if not self.outgoing.is_open:
            self._sift_out(Frame(_BINARY, bytes(data), fin))
            return
        self._send_binary(data, fin)
        if fin:
            self.message(self._sent, data)
        else:
            self._begin(data)

    def _on_send_continuation(self, data: bytes, fin: bool) -> None:
        if not self.outgoing.is_open:
            self._sift_out(Frame(_CONT, bytes(data), fin))
            return
        self._send_continuation(data, fin)
        self._go_on(data, fin)

    def _on_events_received(self) -> list[Event]:
        events = self._events_received()
        if not events:
            return events
        if self._postponed or not self.incoming.is_open:
            return self._sifted(events)
        for event in events:
            if type(event) is Frame:
                self._show(event)
            elif type(event) is Request:
                self._request = event
        return events

    def _on_receive_eof(self) -> None:
        self._receive_eof()
        protocol = self._protocol
        if protocol.state is CLOSED:
            self.ended(properly=protocol.close_rcvd is not None or protocol.close_sent is not None)
            self.release()

    # -- inside ------------------------------------------------------------------------------

    def _begin(self, data: bytes | bytearray | memoryview) -> None:
        self.between_messages.clear()
        self.fragment(self._sent, data, first=True, final=False)

    def _go_on(self, data: bytes | bytearray | memoryview, fin: bool) -> None:
        if fin:
            self.between_messages.set()
        self.fragment(self._sent, data, first=False, final=fin)

    def _sift_out(self, frame: Frame) -> None:
        """Send a frame of the program's once its message is whole and judged."""
        if self.outgoing.is_exempt(frame):
            self._send(frame)
            return
        if frame.opcode is _CONT:
            self._go_on(frame.data, frame.fin)
        elif frame.fin:
            self.message(self._sent, frame.data)
        else:
            self._begin(frame.data)
        for passed in self.outgoing.sift(frame):
            self._send(passed)

    def _send(self, frame: Frame) -> None:
        if frame.opcode is _CONT:
            self._send_continuation(frame.data, frame.fin)
        elif frame.opcode is _TEXT:
            self._send_text(frame.data, frame.fin)
        else:
            self._send_binary(frame.data, frame.fin)

    def _show(self, frame: Frame) -> None:
        opcode, final = frame.opcode, frame.fin
        first = opcode is _TEXT or opcode is _BINARY
        if first and final:
            self._fragmented = False
            self.message(self._received, frame.data)
        elif first or opcode is _CONT:
            self._fragmented = not final
            self.fragment(self._received, frame.data, first=first, final=final)

    def _sifted(self, events: list[Event]) -> list[Event]:
        passed: list[Event] = []
        for event in events:
            if type(event) is not Frame:
                passed.append(event)
                continue
            self._show(event)
            passed += self.incoming.sift(event)
            if self._postponed and not self._fragmented:
                passed += self._postponed
                self._postponed = []
        return passed

    def postpone(self, payload: bytes) -> bool:
        """Have the program receive a message after the one that it is receiving in fragments.

        Returns:
            Whether it is receiving one; else nothing is done.

        """
        if self._fragmented:
            self._postponed.append(Frame(_TEXT, payload))
        return self._fragmented
