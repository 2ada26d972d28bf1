"""A compressed direction made plain: frames in, the same messages in uncompressed frames out.

Once a message was held back or changed, a receiver's inflate window is no longer what the sender
believes it to be: whatever comes compressed has to be inflated on the way from then on. A frame
with RSV1 = 0 is valid where permessage-deflate was agreed, and touches no window.

Source: RFC 7692 sections 6 and 7.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from websockets.frames import Frame, Opcode

from debbie_otel.wire.deflate import DEFLATE_TAIL, Inflater
from debbie_otel.wire.frames import MAX_HEAD, apply_mask, frame_head, rotate_mask

_FIN, _RSV1, _OPCODE = 0x80, 0x40, 0x0F
_CLOSE = int(Opcode.CLOSE)
_PIECE = 64 * 1024
"""Bytes of a frame that are inflated at once; a larger frame comes out in several."""


def plain_frame(payload: bytes, opcode: int, *, masked: bool, fin: bool = True) -> bytes:
    """Return an uncompressed frame, masked at random if it is for the server."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=masked)


class Plain:
    """Makes one direction plain, from a boundary between two messages on.

    Frames that are not compressed, and control frames, come out as they were.

    Args:
        inflater: With the window as it is at that boundary.

    """

    __slots__ = ("_ended", "_gathered", "_head", "_inflater", "_message", "_passing", "_remaining")

    def __init__(self, inflater: Inflater) -> None:
        self._inflater = inflater
        self._head = b""  # of a frame, as far as it has come
        self._gathered = bytearray()  # payload not inflated yet
        self._remaining = 0  # bytes of the frame's payload that are still to come
        self._passing = 0  # bytes of a frame that pass as they are
        # Opcode of the next frame that comes out of a compressed message; None outside of one.
        self._message: int | None = None
        self._ended = False

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, however cut; yield frames in bounded pieces.

        Raises:
            InspectionError: They do not inflate. It must not be used any more.

        """
        position = 0
        while position < len(data):
            if self._passing:
                piece = data[position : position + self._passing]
                self._passing -= len(piece)
                position += len(piece)
                yield piece
            elif self._ended:  # nothing counts after a close frame
                yield data[position:]
                return
            elif self._remaining:
                piece = data[position : position + self._remaining]
                position += len(piece)
                yield from self._inflate(piece)
            else:
                taken = self._read_head(data, position)
                position += taken
                yield from self._begin_frame()

    def _read_head(self, data: bytes, position: int) -> int:
        """Take as much of a frame's head as there is, and not more."""
        begun = len(self._head)
        seen = self._head + data[position : position + MAX_HEAD]
        size = frame_head(seen)
        self._head = seen if size is None else seen[: size[0]]
        return len(self._head) - begun

    def _begin_frame(self) -> Iterator[bytes]:
        size = frame_head(self._head)
        if size is None:
            return
        first = self._head[0]
        opcode = first & _OPCODE
        if opcode < _CLOSE and first & _RSV1 and self._message is None:
            self._message = opcode
            self._inflater.start()
        if opcode < _CLOSE and self._message is not None:
            self._remaining = size[1]
            if not self._remaining:
                yield from self._inflate(b"")
            return
        self._ended = opcode == _CLOSE
        yield self._head
        self._head = b""
        self._passing = size[1]

    def _inflate(self, piece: bytes) -> Iterator[bytes]:
        """Take payload of a compressed message; yield frames when there is enough of it."""
        self._remaining -= len(piece)
        whole = not self._remaining
        masked = bool(self._head[1] & 0x80)
        self._gathered += piece
        if not whole and len(self._gathered) < _PIECE:
            return
        taken = len(self._gathered)
        payload = bytes(self._gathered)
        self._gathered.clear()
        if masked:
            mask = self._head[-4:]
            payload = apply_mask(payload, mask)
            # The rest of the frame goes on where this piece ended.
            self._head = self._head[:-4] + rotate_mask(mask, taken)
        final = whole and bool(self._head[0] & _FIN)
        if final:
            payload += DEFLATE_TAIL
        last = b""
        for output in self._inflater.pieces(payload):
            if output and last:
                yield self._fragment(last, masked=masked, fin=False)
            last = output or last
        if final:
            yield self._fragment(last, masked=masked, fin=True)
            self._message = None
        elif last:
            yield self._fragment(last, masked=masked, fin=False)
        if whole:
            self._head = b""

    def _fragment(self, payload: bytes, *, masked: bool, fin: bool) -> bytes:
        opcode, self._message = self._message or 0, 0
        return plain_frame(payload, opcode, masked=masked, fin=fin)
