"""One connection through the tap: two transports, and the bytes of each passed to the other.

Everything here is synchronous: asyncio calls a `Side`, the bytes go to the other side's transport
at once, and only then is the observer shown a copy. Back-pressure is the transports' own: when
the buffer of one is above its high-water mark, reading of the other stops.

An end travels as what it was: a half-close as a half-close, a reset as a reset. TLS transports of
asyncio cannot be half-closed, so on a TLS side the end of one direction ends both.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from debbie_otel.core.message import MessageDirection

try:
    import fcntl
    import termios
except ImportError:  # a platform without them; the kernel's queue then cannot be asked for
    _can_ask_kernel = False
else:
    _can_ask_kernel = True

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
_RESET_RETRY = 0.01  # seconds; the kernel does not tell when its queue is empty
_RESET_RETRIES = 50
_READ_SIZE = 256 * 1024


class ByteObserver(Protocol):
    """Is shown every byte of one connection, after it was written on."""

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        """Bytes were passed on."""

    def eof_received(self, direction: MessageDirection) -> None:
        """Take note that the sender of this direction has ended it (a half-close)."""

    def closed(self, error: str | None) -> None:
        """Both transports are closed; `error` says why if that was not in order."""


_Show = Callable[[MessageDirection, bytes], None]


class Diversion(Protocol):
    """What the bytes of a direction go through before they are written."""

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; yield what is to be written, in bounded pieces. Must not raise."""

    def drained(self) -> None:
        """Take note that all of it is written: now the diversion can be ended."""

    def finish(self) -> bytes:
        """Return what is still kept: the source sends no more."""


class Actor(Protocol):
    """What acts on a connection, and is told of its ends."""

    def upstream_ended(self, error: str | None) -> bool:
        """Take note, before the client hears of it; return whether the client is to go on."""

    def closed(self) -> None:
        """Take note that both sides are closed."""


class Flow:
    """One direction of a connection: what comes from its source goes to its sink.

    `forward` passes bytes on and shows them; with a diversion, what that makes of them is passed
    on instead, and it is the diversion's part to show anything.
    """

    __slots__ = (
        "_arrived",
        "_connection",
        "_direct",
        "_diversion",
        "_observe",
        "_pieces",
        "_shown",
        "_write",
        "direction",
        "ended",
        "sink",
    )

    def __init__(self, connection: Connection, direction: MessageDirection, sink: Side) -> None:
        self.direction = direction
        self.sink = sink
        self.ended = False
        self._connection = connection
        # `_write` and `_observe` are what `forward` calls; `_direct` and `_shown`, what they are
        # without a diversion.
        self._direct: Callable[[bytes], object] = sink.write
        self._write: Callable[[bytes], object] = self._direct
        self._shown: _Show | None = None
        self._observe: _Show | None = None
        self._diversion: Diversion | None = None
        self._pieces: Iterator[bytes] | None = None
        self._arrived: deque[bytes] | None = None

    def attach(self, observer: ByteObserver | None) -> None:
        """Show this direction's bytes to an observer from now on, or to none."""
        self._shown = None if observer is None else observer.data_received
        if self._diversion is None:
            self._observe = self._shown

    def sink_connected(self, transport: asyncio.Transport) -> None:
        """Write to this transport from now on."""
        self._direct = transport.write
        if self._diversion is None:
            self._write = self._direct

    def forward(self, data: bytes) -> None:
        """Pass bytes on, then show them to the observer."""
        observe = self._observe  # a diversion that ends with these bytes has shown them itself
        self._write(data)
        if observe is not None:
            try:
                observe(self.direction, data)
            except Exception as error:  # noqa: BLE001 - whatever it is, the bytes go on
                self._connection.drop_observer(error)

    def divert(self, diversion: Diversion) -> None:
        """Send all further bytes through a diversion, and show them to nobody."""
        self._diversion = diversion
        self._arrived = deque()
        self._write = self._write_through
        self._observe = None

    def straighten(self) -> None:
        """End the diversion; only from its `drained`, or while nothing goes through it."""
        self._diversion = self._arrived = None
        self._write = self._direct
        self._observe = self._shown

    def insert(self, data: bytes) -> None:
        """Write bytes that did not come from the source."""
        if data:
            self._direct(data)

    def resume(self) -> None:
        """Go on writing: there is room again."""
        if self._pieces is not None:
            self._pump()

    def drain(self) -> None:
        """Write all that has come in, room or not: there will be no more."""
        if self._diversion is not None:
            self._pump(patient=False)

    def end(self) -> None:
        """Pass on that the source sends no more."""
        if not self.ended:
            self.drain()
            if self._diversion is not None:
                self.insert(self._diversion.finish())
            self.ended = True
            self.sink.end()
            self._connection.show_eof(self.direction)

    def _write_through(self, data: bytes) -> None:
        if self._arrived is not None:
            self._arrived.append(data)
        if self._pieces is None:
            self._pump()

    def _pump(self, *, patient: bool = True) -> None:
        """Write what the diversion yields, as long as there is room."""
        while (diversion := self._diversion) is not None and self._arrived is not None:
            if self._pieces is None:
                if not self._arrived:
                    return
                self._pieces = iter(diversion.receive(self._arrived.popleft()))
            for piece in self._pieces:
                self._direct(piece)
                if patient and not self.sink.writable:
                    return
            self._pieces = None
            if not self._arrived:
                diversion.drained()


class Side(asyncio.Protocol):
    """One of the two transports of a connection.

    Attributes:
        name: "client" or "upstream", for messages.
        receive: What gets the bytes that arrive here.
        transport: None before it is connected and after it is lost.
        writable: False while its write buffer is above the high-water mark.

    """

    __slots__ = ("_connection", "name", "receive", "tls", "transport", "writable")

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection: Connection | None = connection
        self.name = name
        self.receive: Callable[[bytes], None] = _nowhere
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
        self.receive(data)

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
        self.receive = _nowhere

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
        if self.transport.get_write_buffer_size() == 0 and (sock is None or _all_sent(sock)):
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        elif retries and _can_ask_kernel:
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
                self.receive(data)
        except OSError:
            return


class Connection(ABC):
    """A client's connection and the upstream connection that belongs to it.

    Subclassed by `opening.ClientConnection`, which brings the two together.
    """

    __slots__ = (
        "__weakref__",
        "_frozen",
        "_observer",
        "actor",
        "client",
        "downward",
        "error",
        "peer",
        "upstream",
        "upward",
    )

    def __init__(self) -> None:
        self.client = Side(self, "client")
        self.upstream = Side(self, "upstream")
        self.upward = Flow(self, MessageDirection.CLIENT_TO_SERVER, self.upstream)
        self.downward = Flow(self, MessageDirection.SERVER_TO_CLIENT, self.client)
        self.peer = ""
        self.error: str | None = None
        self.actor: Actor | None = None
        self._frozen = False
        self._observer: ByteObserver | None = None

    def observe(self, observer: ByteObserver) -> None:
        """Show everything from now on to this observer."""
        self._observer = observer
        self.upward.attach(observer)
        self.downward.attach(observer)

    def opposite(self, side: Side) -> Side:
        """Return the other side."""
        return self.upstream if side is self.client else self.client

    def resumed(self, side: Side) -> None:
        """Write on to a side that has room again, and read on from the other."""
        flow = self.downward if side is self.client else self.upward
        if side.writable:
            flow.resume()
        if side.writable and not (self._frozen and side is self.upstream):
            self.opposite(side).resume_reading()

    def freeze(self) -> None:
        """Leave the client's further bytes in the kernel until `thaw`."""
        self._frozen = True
        self.client.pause_reading()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._frozen = False
        self.resumed(self.upstream)

    def replace_upstream(self, transport: asyncio.Transport) -> asyncio.Transport | None:
        """Put another transport in the upstream's place.

        Returns:
            The one that was there, which is nobody's now; None if it is lost already.

        """
        old, self.upstream = self.upstream, Side(self, "upstream")
        self.upstream.adopt(transport)
        transport.set_protocol(self.upstream)
        self.upstream.receive = self.downward.forward
        self.upward.sink = self.upstream
        self.upward.sink_connected(transport)
        if not self.client.writable:
            transport.pause_reading()
        old.detach()
        return old.transport

    @abstractmethod
    def made(self, side: Side) -> None:
        """Take note that a side is connected."""

    def ended(self, side: Side) -> bool:
        """Pass on that a side sends no more; return whether it can still be written to."""
        flow = self.upward if side is self.client else self.downward
        flow.drain()
        if side is self.upstream and self._goes_on_without(None):
            return False
        flow.end()
        if self.upward.ended and self.downward.ended:
            self.client.close()
            self.upstream.close()
            return False
        return True

    def lost(self, side: Side, exc: Exception | None) -> None:
        """Close the other side in the way this one was closed."""
        if exc is not None and self.error is None:
            self.error = f"{side.name}: {exc or type(exc).__name__}"
        (self.upward if side is self.client else self.downward).drain()
        if side is self.upstream and self._goes_on_without(self.error):
            return
        other = self.opposite(side)
        if other.transport is None:
            self.finish()
        elif exc is None:
            other.close()
        else:
            other.reset()

    def finish(self) -> None:
        """Tell the observer that both sides are closed, and let go of it."""
        if self.actor is not None:
            try:
                self.actor.closed()
            except Exception as error:  # noqa: BLE001 - the tap goes on without it
                self.observer_failed(error)
            self.actor = None
        observer, self._observer = self._observer, None
        if observer is not None:
            try:
                observer.closed(self.error)
            except Exception as error:  # noqa: BLE001 - the tap goes on without it
                self.drop_observer(error)
        # No reference cycle is left, so that all of it is freed now.
        self.client.detach()
        self.upstream.detach()
        del self.upward, self.downward

    def _goes_on_without(self, error: str | None) -> bool:
        """Tell the actor that the upstream has ended; return whether the client is to go on."""
        if self.actor is None:
            return False
        try:
            return self.actor.upstream_ended(error)
        except Exception as failure:  # noqa: BLE001 - the end goes its way
            self.observer_failed(failure)
            return False

    def show_eof(self, direction: MessageDirection) -> None:
        """Tell the observer of a half-close."""
        if self._observer is not None:
            try:
                self._observer.eof_received(direction)
            except Exception as error:  # noqa: BLE001 - the tap goes on without it
                self.drop_observer(error)

    @abstractmethod
    def observer_failed(self, error: Exception) -> None:
        """Count and log the failure of an observer."""

    def drop_observer(self, error: Exception) -> None:
        """Go on without the observer, which has failed."""
        self.observer_failed(error)
        self._observer = None
        self.upward.attach(None)
        self.downward.attach(None)


def _nowhere(_data: bytes) -> None:
    """Take bytes that have nowhere to go."""


def _all_sent(sock: socket.socket) -> bool:
    """Return whether the peer's kernel has acknowledged everything that was written."""
    if not _can_ask_kernel:
        return False
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return False
    return int(struct.unpack("i", answer)[0]) == 0
