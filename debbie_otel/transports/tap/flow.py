"""One direction of a connection through the tap, and what can be put into it.

Bytes go to the other side's transport at once, and only then is the observer shown a copy; or,
for a while, they go through a diversion, which says what is written in their place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from debbie_otel.transports.tap.endpoint import Side
from debbie_otel.wire.direction import MessageDirection


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


class FlowConnection(Protocol):
    """What a flow needs of its connection."""

    def drop_observer(self, error: Exception) -> None:
        """Go on without the observer, which has failed."""

    def show_eof(self, direction: MessageDirection) -> None:
        """Tell the observer of a half-close."""


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

    def __init__(self, connection: FlowConnection, direction: MessageDirection, sink: Side) -> None:
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
