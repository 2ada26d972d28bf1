"""One end of a connection through the tap: a socket, as an asyncio protocol.

Back-pressure is the transports' own: when the buffer of one is above its high-water mark, reading
of the other stops.

An end travels as what it was: a half-close as a half-close, a reset as a reset. TLS transports of
asyncio cannot be half-closed, so on a TLS side the end of one direction ends both.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING

from debbie_otel.compat.platforms import CAN_TELL_UNSENT, is_all_sent, is_unix_socket

if TYPE_CHECKING:
    from debbie_otel.transports.tap.splice import SplicedConnection

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
_RESET_RETRY = 0.01  # seconds; the kernel does not tell when its queue is empty
_RESET_RETRIES = 50
_READ_SIZE = 256 * 1024


class Endpoint(asyncio.Protocol):
    """One of the two transports of a connection; it tells the connection all that happens to it.

    Attributes:
        name: "client" or "upstream", for messages.
        transport: None before it is connected and after it is lost.
        writable: False while its write buffer is above the high-water mark.

    """

    __slots__ = ("_connection", "name", "tls", "transport", "writable")

    def __init__(self, connection: SplicedConnection, name: str) -> None:
        self._connection: SplicedConnection | None = connection
        self.name = name
        self.transport: asyncio.Transport | None = None
        self.tls = False
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (TCP_NODELAY is set on it: asyncio does so for every TCP socket)."""
        assert isinstance(transport, asyncio.Transport)
        if self._connection is None:
            transport.abort()  # the client left while the upstream was being connected
            return
        self.adopt(transport)
        self._connection.made(self)

    def adopt(self, transport: asyncio.Transport) -> None:
        """Be the protocol of this transport."""
        self.transport = transport
        self.tls = transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._connection is not None:
            self._connection.received(self, data)

    def eof_received(self) -> bool:
        """Take the peer's half-close; keep the other half open where the transport can."""
        return self._connection is not None and self._connection.ended(self) and not self.tls

    def pause_writing(self) -> None:
        """Stop reading what would be written here."""
        self.writable = False
        if self._connection is not None:
            self._connection.opposite(self).pause_reading()

    def resume_writing(self) -> None:
        """Read again what will be written here."""
        self.writable = True
        if self._connection is not None:
            self._connection.resumed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the transport."""
        if self.transport is None or self._connection is None:
            return  # a TLS handshake that failed: there never was a connection
        if exc is not None and not self.tls:
            self._drain(self.transport)
        self.transport = None
        self._connection.lost(self, exc)

    def detach(self) -> None:
        """Let go of the connection, which is over."""
        self._connection = None

    def write(self, data: bytes) -> None:
        """Write, if there is a transport to write to."""
        if self.transport is not None:
            self.transport.write(data)

    def end(self) -> None:
        """Write no more; close where half-closing is impossible."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def close(self) -> None:
        """Close once everything is written."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once; what is not written is lost."""
        if self.transport is not None:
            self.transport.abort()

    def pause_reading(self) -> None:
        """Leave further bytes in the kernel."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self.transport is not None:
            self.transport.resume_reading()

    def reset(self, retries: int = _RESET_RETRIES) -> None:
        """Close with a TCP reset, but not before the peer's kernel has what was sent before.

        A reset discards what is still on its way. If that takes too long, it is a normal close.
        """
        if self.transport is None:
            return
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if self.transport.get_write_buffer_size() == 0 and (sock is None or is_all_sent(sock)):
            if sock is not None and not is_unix_socket(sock):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        elif retries and CAN_TELL_UNSENT:
            self.transport.pause_reading()  # what arrives has no way to go any more
            asyncio.get_running_loop().call_later(_RESET_RETRY, self.reset, retries - 1)
        else:
            self.transport.close()

    def _drain(self, transport: asyncio.Transport) -> None:
        """Pass on what the kernel still holds of a peer whose connection broke while we wrote.

        asyncio gives up the socket on the first failed write, though bytes that came before the
        reset can still be read.
        """
        sock = transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return
        try:
            while data := os.read(sock.fileno(), _READ_SIZE):
                self.data_received(data)
        except OSError:
            return
