"""WebSocket bytes -> messages, for observation of one direction of a connection.

`FrameParser` reads a copy of the bytes that pass by. It answers nothing and checks only what it
needs to stay in sync: what it cannot follow raises `InspectionError`, and the direction is not
inspected any further.

Source: RFC 6455 section 5 (framing) and RFC 7692 section 6 (the compression bit).
"""

from __future__ import annotations

from typing import Any

import msgspec
from websockets.frames import CloseCode, Opcode

from debbie_otel.errors import InspectionError
from debbie_otel.wire.deflate import DEFLATE_TAIL, HEAD, TAIL, DeflateParameters, Inflater
from debbie_otel.wire.direction import MessageDirection

try:
    from websockets.speedups import apply_mask as apply_mask
except ImportError:  # a platform without websockets' C extension
    from websockets.utils import apply_mask as apply_mask

DEFAULT_MAX_MESSAGE_SIZE = 8 * 2**20
"""Bytes of a message (after decompression) above which it is not inspected."""

MAX_HEAD = 14
"""Bytes of a frame before its payload."""

TOO_LARGE = "larger than the inspection limit"
"""Why a message of more than the limit is skipped."""

_FIN, _RSV1, _RSV2_RSV3, _OPCODE = 0x80, 0x40, 0x30, 0x0F
_CONT, _TEXT, _BINARY = int(Opcode.CONT), int(Opcode.TEXT), int(Opcode.BINARY)
_CLOSE, _PONG = int(Opcode.CLOSE), int(Opcode.PONG)
_WHOLE_TEXT = _FIN | _TEXT
_MAX_CONTROL_PAYLOAD = 125
_VIEW_ABOVE = 4096  # bytes; below, copying a slice is cheaper than making a memoryview


class PayloadSeen(msgspec.Struct, frozen=True, gc=False):
    """A whole data message, defragmented and decompressed; `text` is False for BINARY."""

    direction: MessageDirection
    payload: bytes
    text: bool
    compressed: bool = False


class PayloadSkipped(msgspec.Struct, frozen=True, gc=False):
    """A data message too large to keep.

    Attributes:
        size: Of its payload on the wire, bytes.
        reason: Why it was not kept.
        head: How it begins.
        tail: How it ends.

    """

    direction: MessageDirection
    size: int
    reason: str
    head: bytes
    tail: bytes = b""


class ControlSeen(msgspec.Struct, frozen=True, gc=False):
    """A ping or a pong."""

    direction: MessageDirection
    opcode: Opcode
    payload: bytes


class CloseSeen(msgspec.Struct, frozen=True, gc=False):
    """A close frame; `code` is 1005 where the frame has none (RFC 6455 section 7.1.5)."""

    direction: MessageDirection
    code: int
    reason: str


FrameEvent = PayloadSeen | PayloadSkipped | ControlSeen | CloseSeen


def frame_head(data: bytes) -> tuple[int, int] | None:
    """Return the sizes of the head and of the payload of the frame that `data` begins with.

    None while there are too few bytes.
    """
    if len(data) < 2:
        return None
    length = data[1] & 0x7F
    size = 2 if length < 126 else 4 if length == 126 else 10
    if length > 125:
        length = int.from_bytes(data[2:size], "big")
    size += 4 if data[1] & 0x80 else 0
    return None if len(data) < size else (size, length)


def holds_close(data: bytes) -> bool:
    """Tell whether there is a close frame in bytes that begin with a frame; the last may be cut."""
    position = 0
    while (head := frame_head(data[position : position + MAX_HEAD])) is not None:
        if data[position] & 0x0F == _CLOSE:
            return True
        position += sum(head)
    return False


def rotate_mask(mask: bytes, by: int) -> bytes:
    """Return the mask of what comes `by` bytes later."""
    shift = by % 4
    return mask[shift:] + mask[:shift]


class SkippedMessage:
    """Takes a message in pieces, and keeps hardly anything of it.

    Args:
        inflater: Of a compressed message, whose window must stay right; None for a plain one.

    """

    __slots__ = ("_head", "_inflater", "_tail")

    def __init__(self, inflater: Inflater | None) -> None:
        self._inflater = inflater
        self._head = self._tail = b""

    def take(self, clear: bytes) -> None:
        """Take the next bytes of the payload."""
        if self._inflater is None:
            self._head += clear[: HEAD - len(self._head)]
            self._tail = (self._tail + clear[-TAIL:])[-TAIL:]
        elif clear:
            self._inflater.discard(clear)

    def take_masked(self, piece: bytes, mask: bytes) -> None:
        """Take bytes that have their mask still; no more of them than is needed is unmasked."""
        whole = self._inflater is not None or len(self._head) < HEAD
        start = 0 if whole else max(0, len(piece) - TAIL)
        needed = piece[start:]
        self.take(apply_mask(needed, rotate_mask(mask, start)) if mask and needed else needed)

    def ends(self) -> tuple[bytes, bytes]:
        """Return the beginning and the end of the message, all of which was taken."""
        if self._inflater is None:
            return self._head, self._tail
        self._inflater.discard(DEFLATE_TAIL)
        return self._inflater.head, self._inflater.tail


class FrameParser:
    """Incremental parser of the frames of one direction.

    Args:
        direction: Which; it is put into the events.
        deflate: permessage-deflate as agreed for this direction; None without.
        max_message_size: Larger messages (bytes, after decompression) are skipped, not kept.

    Attributes:
        data_opcode: TEXT or BINARY: what the last data message was sent as; at first TEXT.

    Memory is at most about twice `max_message_size`. Masked and unmasked frames are both taken.

    """

    __slots__ = (
        "_compressed",
        "_direction",
        "_ended",
        "_gathered",
        "_head",
        "_inflater",
        "_mask",
        "_max_size",
        "_message",
        "_opcode",
        "_remaining",
        "_resume",
        "_size",
        "_skipped",
        "_start",
        "data_opcode",
    )

    def __init__(
        self,
        direction: MessageDirection,
        deflate: DeflateParameters | None = None,
        max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
    ) -> None:
        self._direction = direction
        self._max_size = max_message_size
        self._inflater = None if deflate is None else Inflater(deflate, max_message_size)
        # Where one chunk ended inside a frame's head, or inside its payload.
        self._resume = False
        self._head = b""
        self._start = 0
        self._mask = b""
        self._remaining = 0
        self._gathered: bytearray | None = None
        # The data message whose last frame is still to come; opcode 0 between messages.
        self._opcode = 0
        self.data_opcode = _TEXT
        self._compressed = False
        self._message = bytearray()
        self._size = 0
        self._skipped: SkippedMessage | None = None
        self._ended = False

    def receive_data(self, data: bytes, events: list[Any]) -> None:
        """Take the next bytes of the direction, however cut; append what they complete.

        Args:
            data: The bytes.
            events: Gets a `FrameEvent` per message and control frame, also before an error.

        Raises:
            InspectionError: The bytes are not frames that can be followed. The parser must not
                be used any more.

        """
        position = 0
        if self._resume:
            if self._ended:
                return
            if self._remaining:
                position = self._continue_payload(data, events)
                if self._remaining:
                    return
                if self._ended:
                    return
            else:
                data = self._head + data
            self._resume = False
        end = len(data)
        # One turn of the loop per frame that is whole in `data`.
        while position + 2 <= end:
            first = data[position]
            length = data[position + 1]
            start = position + 2
            masked = length & 0x80
            length &= 0x7F
            if length == 126:
                start += 2
                if start > end:
                    break
                length = data[start - 2] << 8 | data[start - 1]
            elif length == 127:
                start += 8
                if start > end:
                    break
                length = int.from_bytes(data[start - 8 : start], "big")
            if masked:
                start += 4
            stop = start + length
            if stop > end or length > self._max_size:
                if start > end:
                    break
                self._start_payload(first, length, data[start - 4 : start] if masked else b"")
                position = start + self._continue_payload(data[start:stop], events)
                if self._remaining or self._ended:
                    return
                continue
            if not masked:
                payload = data[start:stop]
            elif length > _VIEW_ABOVE:
                payload = apply_mask(memoryview(data)[start:stop], data[start - 4 : start])
            else:
                payload = apply_mask(data[start:stop], data[start - 4 : start])
            if first == _WHOLE_TEXT and not self._opcode:
                events.append(PayloadSeen(self._direction, payload, True))
                self.data_opcode = _TEXT
            else:
                self._check_head(first, length)
                self._end_frame(first, length, payload, events)
                if self._ended:
                    return
            position = stop
        self._head = data[position:]
        self._resume = position < end

    @property
    def boundary(self) -> bool:
        """Whether what was taken so far ends with a whole message (or a control frame after it)."""
        return not (self._resume or self._opcode)

    @property
    def between_frames(self) -> bool:
        """Whether what was taken so far ends with a whole frame."""
        return not self._resume

    @property
    def ended(self) -> bool:
        """Whether there was a close frame: nothing counts after it."""
        return self._ended

    @property
    def skipping(self) -> bool:
        """Whether the message that is being read is too large to be kept."""
        return self._skipped is not None

    @property
    def max_message_size(self) -> int:
        """Bytes above which a message is skipped."""
        return self._max_size

    def wanted(self, data: bytes, position: int = 0) -> int:
        """Return how many of the bytes from `position` on belong to the frame begun or next."""
        rest = len(data) - position
        if self._ended:
            return rest
        if self._resume and self._remaining:
            return min(rest, self._remaining)
        begun = self._head if self._resume else b""
        head = frame_head(begun + data[position : position + MAX_HEAD])
        return rest if head is None else min(rest, sum(head) - len(begun))

    @property
    def compressible(self) -> bool:
        """Whether there may be compressed messages."""
        return self._inflater is not None

    @property
    def context_taken_over(self) -> bool:
        """Whether compressed messages refer to earlier ones."""
        return self._inflater is not None and not self._inflater.per_message

    def take_inflater(self) -> Inflater | None:
        """Hand over the inflater with its window, at a boundary: no compressed message follows."""
        inflater, self._inflater = self._inflater, None
        return inflater

    def _start_payload(self, first: int, length: int, mask: bytes) -> None:
        """Begin a frame that is not whole in its chunk, or too large to be kept."""
        self._check_head(first, length)
        self._start, self._mask, self._remaining = first, mask, length
        self._resume = True
        self._gathered = bytearray()
        if first & _OPCODE < _CLOSE and self._size + length > self._max_size:
            self._skip_message()
        if self._skipped is not None and first & _OPCODE < _CLOSE:
            self._gathered = None

    def _continue_payload(self, data: bytes, events: list[Any]) -> int:
        """Take bytes of the frame begun; return how many belong to it."""
        taken = min(len(data), self._remaining)
        piece = data if taken == len(data) else data[:taken]
        self._remaining -= taken
        if self._gathered is not None:
            self._gathered += piece
        elif self._skipped is not None:
            self._size += taken
            self._skipped.take_masked(piece, self._mask)
            self._mask = rotate_mask(self._mask, taken)
        if not self._remaining:
            self._resume = False
            gathered, self._gathered = self._gathered, None
            if gathered is None:
                self._end_frame(self._start, 0, b"", events)
            else:
                payload = apply_mask(gathered, self._mask) if self._mask else bytes(gathered)
                self._end_frame(self._start, len(payload), payload, events)
            self._resume = self._ended
        return taken

    def _check_head(self, first: int, length: int) -> None:
        """Refuse a frame that RFC 6455 section 5 forbids here; open its message."""
        opcode = first & _OPCODE
        if first & _RSV2_RSV3:
            raise InspectionError("a frame with reserved bits of no known extension")
        if opcode >= _CLOSE:
            if opcode > _PONG:
                raise InspectionError(f"a frame with the unknown opcode {opcode}")
            if first & _RSV1 or not first & _FIN or length > _MAX_CONTROL_PAYLOAD:
                raise InspectionError("a control frame that is fragmented, compressed or too long")
            return
        if opcode > _BINARY:
            raise InspectionError(f"a frame with the unknown opcode {opcode}")
        if opcode == _CONT:
            if not self._opcode:
                raise InspectionError("a continuation frame without a message to continue")
            if first & _RSV1:
                raise InspectionError("a continuation frame with the compression bit")
            return
        if self._opcode:
            raise InspectionError("a new message before the last one has ended")
        if first & _RSV1 and self._inflater is None:
            raise InspectionError("a compressed message where no compression was agreed")
        self._opcode = self.data_opcode = opcode
        self._compressed = bool(first & _RSV1)
        if self._compressed and self._inflater is not None:
            self._inflater.start()

    def _end_frame(self, first: int, length: int, payload: bytes, events: list[Any]) -> None:
        """Handle one whole frame."""
        opcode = first & _OPCODE
        if opcode >= _CLOSE:
            events.append(self._control(opcode, payload))
            return
        if self._skipped is not None:
            self._size += length
            self._skipped.take(payload)
        elif first & _FIN and not self._size:
            self._size = length  # the usual case: the message is this one frame
            events.append(self._whole(payload))
            self._next_message()
            return
        elif self._size + length > self._max_size:
            self._skip_message().take(payload)
            self._size += length
        else:
            self._size += length
            self._message += payload
        if first & _FIN:
            if self._skipped is None:
                events.append(self._whole(bytes(self._message)))
            else:
                ends = self._skipped.ends()
                events.append(PayloadSkipped(self._direction, self._size, TOO_LARGE, *ends))
            self._next_message()

    def _whole(self, payload: bytes) -> FrameEvent:
        text = self._opcode == _TEXT
        if not self._compressed or self._inflater is None:
            return PayloadSeen(self._direction, payload, text)
        inflated = self._inflater.inflate(payload)
        if inflated is None:
            ends = self._inflater.head, self._inflater.tail
            return PayloadSkipped(self._direction, self._size, TOO_LARGE, *ends)
        return PayloadSeen(self._direction, inflated, text, True)

    def _skip_message(self) -> SkippedMessage:
        """Give up the message that is being read."""
        if self._skipped is None:
            self._skipped = SkippedMessage(self._inflater if self._compressed else None)
            kept, self._message = self._message, bytearray()
            self._skipped.take(bytes(kept))
        return self._skipped

    def _next_message(self) -> None:
        self._opcode = self._size = 0
        self._compressed = False
        self._skipped = None
        if self._message:
            self._message = bytearray()

    def _control(self, opcode: int, payload: bytes) -> FrameEvent:
        if opcode != _CLOSE:
            return ControlSeen(self._direction, Opcode(opcode), payload)
        # Nothing counts after a close frame (RFC 6455 section 5.5.1).
        self._ended = self._resume = True
        if len(payload) < 2:
            return CloseSeen(self._direction, int(CloseCode.NO_STATUS_RCVD), "")
        code = int.from_bytes(payload[:2], "big")
        return CloseSeen(self._direction, code, payload[2:].decode("utf-8", "replace"))
