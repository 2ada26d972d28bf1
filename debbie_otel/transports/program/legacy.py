"""The link to a connection of `websockets.legacy`, which has no sans-I/O protocol inside.

Its connections write each frame by `write_frame_sync`, and put received messages into a deque
that `recv` takes them from, looking again if it finds none. The package is deprecated and may be
gone; nothing here imports it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.frames import Frame, Opcode

from debbie_otel.transports.program.observed import Observed, Opening, Watch

_Data = str | bytes


class _Inbox(deque[_Data]):
    """The messages that a connection has received, except those that are held back."""

    def __init__(self, waiting: deque[_Data], arrived: Callable[[_Data], _Data | None]) -> None:
        super().__init__(waiting)
        self.arrived = arrived

    def append(self, message: _Data) -> None:
        """Add a message if the program is to get it."""
        kept = self.arrived(message)
        if kept is not None:
            super().append(kept)


class LegacyLink(Observed):
    """Stands before a legacy connection's methods until it ends, or `release` is called.

    Args:
        connection: A `WebSocketCommonProtocol`.
        watch: Who observes it.

    """

    def __init__(self, connection: Any, watch: Watch) -> None:
        super().__init__("client" if connection.is_client else "server", watch)
        self._connection = connection
        self._write_frame_sync = connection.write_frame_sync
        connection.write_frame_sync = self._on_write
        waiting: deque[_Data] = connection.messages
        connection.messages = _Inbox(waiting, self._on_message)
        for message in waiting:
            self.message(self._received, _encoded(message))
        connection.connection_lost_waiter.add_done_callback(lambda _: self._on_lost())

    @staticmethod
    def fits(connection: Any) -> bool:
        """Tell whether this is a legacy connection."""
        wanted = ("write_frame_sync", "messages", "connection_lost_waiter")
        return all(hasattr(connection, name) for name in wanted)

    @staticmethod
    def of(connection: Any) -> LegacyLink | None:
        """Return the link that a connection has already."""
        messages = connection.messages
        found = getattr(messages.arrived, "__self__", None) if type(messages) is _Inbox else None
        return found if isinstance(found, LegacyLink) else None

    def release(self) -> None:
        """Leave the connection as it was before."""
        connection = self._connection
        if vars(connection).get("write_frame_sync") == self._on_write:
            del connection.write_frame_sync
        if LegacyLink.of(connection) is self:
            connection.messages = deque(connection.messages)
        self.on_end()

    def opening(self) -> Opening:
        """Return what the handshake said."""
        headers = getattr(self._connection, "request_headers", None)
        items = () if headers is None else headers.raw_items()
        return Opening(
            side=self.side,
            headers={name.lower(): value for name, value in items},
            subprotocol=self._connection.subprotocol,
            link=self,
        )

    @property
    def connection(self) -> Any:
        """The connection."""
        return self._connection

    def deliver(self, payload: bytes) -> None:
        """Have the program receive a text message; on the connection's loop."""
        connection = self._connection
        deque.append(connection.messages, payload.decode(errors="replace"))
        waiter = connection._pop_message_waiter  # noqa: SLF001 - as the connection itself does
        if waiter is not None:
            waiter.set_result(None)
            connection._pop_message_waiter = None  # noqa: SLF001

    def _on_message(self, message: _Data) -> _Data | None:
        payload = _encoded(message)
        self.message(self._received, payload)
        judged = self.incoming.judge(payload)
        if judged is None or judged == payload:
            return None if judged is None else message
        return judged.decode(errors="replace") if isinstance(message, str) else judged

    def _on_write(self, fin: bool, opcode: int, data: bytes) -> None:
        if opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._write_frame_sync(fin, opcode, data)
        elif self.outgoing.is_open:
            self._write_frame_sync(fin, opcode, data)
            self._show_sent(fin, opcode, data)
        elif self.outgoing.is_exempt(frame := Frame(Opcode(opcode), bytes(data), fin)):
            self._write_frame_sync(fin, opcode, data)
        else:
            self._show_sent(fin, opcode, data)
            for passed in self.outgoing.sift(frame):
                self._write_frame_sync(passed.fin, passed.opcode, passed.data)

    def _show_sent(self, fin: bool, opcode: int, data: bytes) -> None:
        self.fragment(self._sent, data, first=opcode != Opcode.CONT, final=fin)

    def _on_lost(self) -> None:
        connection = self._connection
        proper = connection.close_rcvd is not None or connection.close_sent is not None
        self.ended(properly=proper)
        self.release()


def _encoded(message: _Data) -> bytes:
    return message.encode() if isinstance(message, str) else message
