"""One direction of a connection, message by message: passed, held back, replaced, added to.

A `Reframer` begins at any byte: what is in flight then (half a frame, a fragmented message) passes
as it is to its end. From there on a message is kept until it is whole, and a handler says what
becomes of it; if it is to pass, its bytes pass as they came. Control frames pass at once, also
between fragments. A direction stays re-framed for the rest of its connection.

Once a message was held back or replaced where compressed messages refer to earlier ones, the
receiver can inflate no more of them: `debbie_otel.wire.decompressing` inflates them on the way
from then on, for the rest of the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from websockets.frames import Opcode

from debbie_otel.errors import InspectionError
from debbie_otel.wire.decompressing import Plain, plain_frame
from debbie_otel.wire.frames import CloseSeen, FrameEvent, FrameParser, PayloadSeen, PayloadSkipped

_TEXT, _BINARY, _CLOSE = int(Opcode.TEXT), int(Opcode.BINARY), int(Opcode.CLOSE)
_OUTPUT = 64 * 1024  # bytes that are gathered before they go out
_INVALID_DATA = (1007).to_bytes(2, "big") + b"the compressed data are invalid"


class MessageHandler(Protocol):
    """Says what becomes of messages."""

    def message(self, seen: PayloadSeen) -> bytes | None:
        """Return the payload to pass on, `seen.payload` itself to change nothing; None for none."""

    def passed(self, event: FrameEvent) -> None:
        """Take note of what was not to be decided: a control frame, a message in flight or huge."""

    def closing(self, seen: CloseSeen) -> bool:
        """Return whether a close frame is to pass; what is inserted now goes out before it."""

    def failed(self, error: Exception) -> None:
        """Take note that one of the above has failed; the message has passed."""


class Reframer:
    """Takes the bytes of one direction over from whoever has passed them so far.

    Args:
        parser: Has been shown every byte of the direction before.
        handler: Says what becomes of messages.
        masked: Whether the direction is the one to the server (RFC 6455 section 5.1).

    Attributes:
        handler: May be changed between two calls.
        lost: Why the direction cannot be followed any more; all bytes pass from there on.

    """

    __slots__ = (
        "_broken",
        "_busy",
        "_forced",
        "_frame",
        "_masked",
        "_message",
        "_output",
        "_parser",
        "_passing",
        "_plain",
        "_waiting",
        "_wants_plain",
        "handler",
        "lost",
    )

    def __init__(self, parser: FrameParser, handler: MessageHandler, *, masked: bool) -> None:
        self.handler = handler
        self.lost: str | None = None
        self._parser = parser
        self._masked = masked
        self._passing = not parser.boundary
        self._frame = bytearray()  # the frame that is not whole yet
        self._message = bytearray()  # frames of the message that is not whole yet
        self._waiting: list[bytes] = []
        self._output = bytearray()
        self._busy = False
        self._plain: Plain | None = None
        self._wants_plain = False
        self._forced = False
        self._broken = False  # compressed data that do not inflate: nothing passes any more

    # -- what others may look at -------------------------------------------------------------

    @property
    def parser(self) -> FrameParser:
        """What has seen all that came in."""
        return self._parser

    @property
    def clean(self) -> bool:
        """Whether what has come out so far ends with a whole message."""
        return not self._passing and self.lost is None

    @property
    def at_boundary(self) -> bool:
        """Whether a message can be put in now."""
        return self.clean and not self._parser.ended

    @property
    def waiting(self) -> bool:
        """Whether something inserted has not come out yet."""
        return bool(self._waiting)

    @property
    def plain(self) -> bool:
        """Whether compressed messages are inflated on the way, which has no end."""
        return self._plain is not None or self._wants_plain

    # -- bytes -------------------------------------------------------------------------------

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, however cut; yield those to pass on, in bounded pieces.

        Total: what cannot be followed passes as it is. It must be iterated to its end before the
        next call.
        """
        self._busy = True
        yield from self._split(data) if self._plain is None else self._inflated(self._plain, data)
        self._busy = False
        self._insert_waiting()
        yield from self._take_output(0)

    def insert(self, payload: bytes, opcode: int | None = None) -> bytes:
        """Put a message in at the next boundary; return what is to be passed on now.

        Args:
            payload: Of a data message.
            opcode: TEXT or BINARY; None for what the sender of this direction used last.

        """
        if opcode is None:
            opcode = self._parser.data_opcode
        self._waiting.append(plain_frame(payload, opcode, masked=self._masked))
        if self._busy:
            return b""  # whoever iterates gets it
        self._insert_waiting()
        return b"".join(self._take_output(0))

    def make_plain(self) -> None:
        """Let no compressed message through any more: another receiver knows no compression."""
        self._forced = True
        if self._plain is None and self._parser.compressible:
            self._wants_plain = True
            if self._parser.boundary and not self._busy:
                self._begin_plain()

    def finish(self) -> bytes:
        """Return what is kept of a message that is not whole: its sender has ended."""
        return b"".join(self._give_up()) if not self._busy else b""

    # -- inside ------------------------------------------------------------------------------

    def _inflated(self, plain: Plain, data: bytes) -> Iterator[bytes]:
        if self._broken:
            return
        try:
            for piece in plain.receive(data):
                yield from self._split(piece)
        except InspectionError as error:
            # The receiver could have made nothing of it either: tell it so.
            self.lost, self._broken = str(error), True
            self._frame.clear()
            self._message.clear()
            self._output += plain_frame(_INVALID_DATA, _CLOSE, masked=self._masked)

    def _split(self, data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data):
            if self.lost is not None or self._parser.ended:
                yield from self._take_output(0)
                yield data[position:]
                return
            size = self._parser.wanted(data, position)
            self._receive_piece(data[position : position + size])
            position += size
            yield from self._take_output(_OUTPUT)
            if self._wants_plain and self._parser.boundary:
                yield from self._inflated(self._begin_plain(), data[position:])
                return

    def _receive_piece(self, piece: bytes) -> None:
        """Take bytes that do not go beyond the end of a frame."""
        events: list[FrameEvent] = []
        passing = self._passing
        (self._output if passing else self._frame).extend(piece)
        try:
            self._parser.receive_data(piece, events)
        except InspectionError as error:
            self.lost = str(error)
            self._output.extend(b"".join(self._give_up()))
            return
        if passing:
            for event in events:
                self._tell(event)
            self._passing = not self._parser.boundary
        elif self._parser.between_frames or self._parser.ended:
            self._end_frame(events)
        elif self._parser.skipping:
            self._pass_on()
        self._insert_waiting()

    def _end_frame(self, events: list[FrameEvent]) -> None:
        event = events[0] if events else None
        if event is None:  # a fragment
            self._message += self._frame
            self._frame.clear()
            # A message of many tiny fragments has more bytes than its payload.
            if self._parser.skipping or len(self._message) > 2 * self._parser.max_message_size:
                self._pass_on()
        elif isinstance(event, PayloadSeen):
            raw = bytes(self._message + self._frame)
            self._frame.clear()
            self._message.clear()
            self._decide(event, raw)
        elif isinstance(event, PayloadSkipped):
            self._output += self._message + self._frame
            self._frame.clear()
            self._message.clear()
            self._tell(event)
        else:
            frame = bytes(self._frame)
            self._frame.clear()
            if isinstance(event, CloseSeen) and not self._may_close(event):
                return
            self._output += frame
            self._tell(event)

    def _may_close(self, seen: CloseSeen) -> bool:
        try:
            passes = self.handler.closing(seen)
        except Exception as error:  # noqa: BLE001 - see _decide
            self.handler.failed(error)
            passes = True
        self._output += b"".join(self._waiting)
        self._waiting.clear()
        return passes

    def _decide(self, seen: PayloadSeen, raw: bytes) -> None:
        try:
            payload = self.handler.message(seen)
        except Exception as error:  # noqa: BLE001 - whatever it is, the message goes on
            self.handler.failed(error)
            payload = seen.payload
        if payload is seen.payload and not (seen.compressed and self._forced):
            self._output += raw
            return
        if payload is not None:
            opcode = _TEXT if seen.text else _BINARY
            self._output += plain_frame(payload, opcode, masked=self._masked)
        if self._parser.context_taken_over:
            self._wants_plain = True

    def _tell(self, event: FrameEvent) -> None:
        try:
            self.handler.passed(event)
        except Exception as error:  # noqa: BLE001 - see _decide
            self.handler.failed(error)

    def _begin_plain(self) -> Plain:
        inflater = self._parser.take_inflater()
        assert inflater is not None
        self._wants_plain = False
        self._plain = Plain(inflater)
        return self._plain

    def _pass_on(self) -> None:
        """Pass the message that is being read as it comes: it is too large to be kept."""
        self._output += self._message + self._frame
        self._frame.clear()
        self._message.clear()
        self._passing = True

    def _give_up(self) -> Iterator[bytes]:
        kept = bytes(self._message + self._frame)
        self._frame.clear()
        self._message.clear()
        self._passing = not self._parser.boundary
        if kept:
            yield kept

    def _insert_waiting(self) -> None:
        if self._waiting and self.at_boundary:
            self._output += b"".join(self._waiting)
            self._waiting.clear()

    def _take_output(self, least: int) -> Iterator[bytes]:
        if len(self._output) > least:
            output, self._output = bytes(self._output), bytearray()
            yield output
