"""One direction of a connection through the tap.

It begins spliced: bytes go to the other endpoint's transport at once, and only then is the observer
shown a copy. From the moment that somebody acts on it, it is re-framed for the rest of the
connection: the bytes go through a `Reframer`, whose handler says what becomes of each message.
There is no way back, so that no state of one act can be left over for the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from debbie_otel.errors import ChannelError
from debbie_otel.transports.tap.endpoint import Endpoint
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import FrameParser, holds_close
from debbie_otel.wire.reframe import MessageHandler, Reframer

if TYPE_CHECKING:
    from debbie_otel.transports.tap.splice import SplicedConnection


class ByteObserver(Protocol):
    """Is shown every byte of one connection, after it was written on."""

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        """Bytes were passed on."""

    def cannot_follow(self, reason: str) -> None:
        """Give up following a direction that is re-framed; its bytes pass."""

    def closed(self, error: str | None) -> None:
        """Both transports are closed; `error` says why if that was not in order."""


_KEPT_LIMIT = 64 * 1024
"""Bytes that are kept of a direction that is frozen, plus one read."""


class _Reframing:
    """What the bytes of a re-framed direction go through, and those that wait for room.

    Attributes:
        reframer: Says what becomes of them.
        arrived: Reads that it has not been given yet.
        pieces: What it makes of the last read it was given; None once all of that is written.
        frozen: Whether reads are kept as they come, until `Direction.thaw`.
        at_boundary: Done when what was written ends with a whole message; None if nobody waits.

    """

    __slots__ = ("arrived", "at_boundary", "frozen", "pieces", "reframer")

    def __init__(self, reframer: Reframer) -> None:
        self.reframer = reframer
        self.arrived: deque[bytes] = deque()
        self.pieces: Iterator[bytes] | None = None
        self.frozen = False
        self.at_boundary: asyncio.Future[None] | None = None


class Direction:
    """What comes from one endpoint goes to the other, its sink.

    Attributes:
        direction: Which one.
        sink: Where the bytes go.
        ended: Whether its source sends no more.

    """

    __slots__ = ("_connection", "_observer", "_reframing", "direction", "ended", "sink")

    def __init__(
        self, connection: SplicedConnection, direction: MessageDirection, sink: Endpoint
    ) -> None:
        self.direction = direction
        self.sink = sink
        self.ended = False
        self._connection = connection
        self._observer: ByteObserver | None = None
        self._reframing: _Reframing | None = None

    def attach(self, observer: ByteObserver | None) -> None:
        """Show this direction's bytes to an observer from now on, or to none."""
        self._observer = observer

    def forward(self, data: bytes) -> None:
        """Pass bytes of the source on."""
        if self._reframing is not None:
            self._reframing.arrived.append(data)
            if self._reframing.pieces is None:
                self._write_reframed(self._reframing)
            if self._reframing.frozen and self._kept > _KEPT_LIMIT:
                self._connection.opposite(self.sink).pause_reading()
            return
        self.sink.write(data)
        if self._observer is not None:
            try:
                self._observer.data_received(self.direction, data)
            except Exception as error:  # noqa: BLE001 - whatever it is, the bytes go on
                self._connection.drop_observer(error)

    def resume(self) -> None:
        """Go on writing: the sink has room again."""
        if self._reframing is not None and self._reframing.pieces is not None:
            self._write_reframed(self._reframing)

    def drain(self) -> None:
        """Write all that has come in, room or not: there will be no more."""
        if self._reframing is not None:
            self._write_reframed(self._reframing, patient=False)

    def end(self) -> None:
        """Pass on that the source sends no more."""
        if not self.ended:
            self.drain()
            if self._reframing is not None:
                self.sink.write(self._reframing.reframer.finish())
            self.ended = True
            self.sink.end()

    # -- acting ------------------------------------------------------------------------------

    @property
    def reframer(self) -> Reframer | None:
        """What the bytes go through; None while they are spliced."""
        return None if self._reframing is None else self._reframing.reframer

    def reframe(self, parser: FrameParser, handler: MessageHandler) -> Reframer:
        """Re-frame from the next byte on, and for good; nothing where that is so already.

        Args:
            parser: Has been shown every byte so far.
            handler: Says what becomes of each message.

        """
        if self._reframing is None:
            masked = self.direction is MessageDirection.CLIENT_TO_SERVER
            self._reframing = _Reframing(Reframer(parser, handler, masked=masked))
        return self._reframing.reframer

    def follow(self, reframer: Reframer) -> None:
        """Go on with the bytes of another source, which this reframer has seen so far."""
        self._reframing = _Reframing(reframer)

    def insert(self, payload: bytes, opcode: int | None = None) -> None:
        """Put a message in at the next boundary of a direction that is re-framed."""
        assert self._reframing is not None
        self.sink.write(self._reframing.reframer.insert(payload, opcode))

    def insert_frame(self, data: bytes) -> None:
        """Write a frame at once: what was written last is a whole message."""
        self.sink.write(data)

    def freeze(self) -> None:
        """Keep what comes from now on; of much of it the rest stays in the kernel.

        The end of the source is noticed meanwhile.
        """
        assert self._reframing is not None
        self._reframing.frozen = True

    def thaw(self) -> None:
        """Undo `freeze`."""
        if self._reframing is not None and self._reframing.frozen:
            self._reframing.frozen = False
            self._write_reframed(self._reframing)

    @property
    def is_frozen(self) -> bool:
        """Whether what comes is kept."""
        return self._reframing is not None and self._reframing.frozen

    @property
    def close_is_kept(self) -> bool:
        """Whether there is a close frame in what is kept: the source is leaving."""
        if self._reframing is None:
            return False
        data, parser = b"".join(self._reframing.arrived), self._reframing.reframer.parser
        position = 0 if parser.between_frames else parser.wanted(data)
        return parser.ended or holds_close(data[position:])

    @property
    def _kept(self) -> int:
        return 0 if self._reframing is None else sum(map(len, self._reframing.arrived))

    async def boundary(self) -> Reframer:
        """Wait until what was written of a re-framed direction ends with a whole message.

        It does so from then on, unless a message comes that is too large to be kept.

        Raises:
            ChannelError: The connection has ended meanwhile.

        """
        while (reframing := self._reframing) is not None:
            if reframing.reframer.clean:
                return reframing.reframer
            reframing.at_boundary = asyncio.get_running_loop().create_future()
            await reframing.at_boundary
        raise ChannelError("the connection is closed")

    def leave(self) -> None:
        """Let go of what acts on it: the connection is over, and no reference cycle is left."""
        reframing, self._reframing = self._reframing, None
        waiting = None if reframing is None else reframing.at_boundary
        if waiting is not None and not waiting.done():
            waiting.set_exception(ChannelError("the connection is closed"))

    # -- inside ------------------------------------------------------------------------------

    def _write_reframed(self, reframing: _Reframing, *, patient: bool = True) -> None:
        """Write what the reframer makes of the reads that have come, as long as there is room."""
        while (
            self._reframing is reframing and not reframing.frozen
        ):  # else a restart has put another in its place
            if reframing.pieces is None:
                if not reframing.arrived:
                    return
                reframing.pieces = reframing.reframer.receive(reframing.arrived.popleft())
            for piece in reframing.pieces:
                self.sink.write(piece)
                if patient and not self.sink.writable:
                    return
            reframing.pieces = None
            if not reframing.arrived:
                self._caught_up(reframing)

    def _caught_up(self, reframing: _Reframing) -> None:
        lost = reframing.reframer.lost
        if lost is not None and self._observer is not None:
            self._observer.cannot_follow(lost)
        if reframing.at_boundary is not None and not reframing.at_boundary.done():
            reframing.at_boundary.set_result(None)
