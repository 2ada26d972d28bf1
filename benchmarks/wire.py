"""The little of RFC 6455 that the rig itself speaks: whole text frames, pings and closes.

The rig is not the thing measured, so frames are built once, and only the id is written into them.
"""

from __future__ import annotations

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

METHOD = "echo"
FIRST_ID = 1_000_000_000
"""Ids have ten digits, so that every message of a shape has the same size."""

MASK_KEY = b"\x37\xfa\x21\x3d"
NO_KEY = b""

_PREFIX = b'{"jsonrpc":"2.0","id":'
_REQUEST_MIDDLE = b',"method":"%s","params":{"text":"' % METHOD.encode()
_RESPONSE_MIDDLE = b',"result":{"text":"'
_SUFFIX = b'"}}'
_TEXT = b"The quick brown fox jumps over the lazy dog. "

_ID = slice(len(_PREFIX), len(_PREFIX) + 10)
ID_START, ID_END = _ID.start, _ID.stop
SMALLEST_MESSAGE = len(_PREFIX) + 10 + len(_REQUEST_MIDDLE) + len(_SUFFIX)

Frame = tuple[int, int, int, bytes]
"""Opcode, start and end of the payload in the buffer, mask key (empty where unmasked)."""


class WireError(Exception):
    """Something arrived that the rig never sends, so the program in the middle changed it."""


def mask(payload: bytes, key: bytes, offset: int = 0) -> bytes:
    """Mask or unmask `payload`, which begins `offset` bytes into its message."""
    size = len(payload)
    if not key or not size:
        return payload
    start = offset % 4
    pad = (key * (size // 4 + 2))[start : start + size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def frame(opcode: int, payload: bytes, key: bytes = NO_KEY) -> bytes:
    """Return one final frame, masked where there is a key (RFC 6455, section 5.2)."""
    masked, size = 0x80 if key else 0, len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, masked | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, masked | 127)) + size.to_bytes(8, "big")
    return head + key + mask(payload, key)


def split(buffer: bytes) -> tuple[list[Frame], int]:
    """Return the whole frames in `buffer`, and how many bytes they take."""
    frames: list[Frame] = []
    position, end = 0, len(buffer)
    while end - position >= 2:
        first, second = buffer[position], buffer[position + 1]
        start, size = position + 2, second & 0x7F
        if size == 126:
            size = int.from_bytes(buffer[start : start + 2], "big")
            start += 2
        elif size == 127:
            size = int.from_bytes(buffer[start : start + 8], "big")
            start += 8
        key = NO_KEY
        if second & 0x80:
            key = buffer[start : start + 4]
            start += 4
        if start + size > end:
            break
        if first & 0xF0 != 0x80:
            raise WireError(f"a frame begins with {first:#04x}, not with a final frame's bits")
        position = start + size
        frames.append((first & 0x0F, start, position, key))
    return frames, position


class Template:
    """A frame that is complete but for its id."""

    def __init__(self, message: bytes, key: bytes) -> None:
        whole = frame(TEXT, message, key)
        payload = len(whole) - len(message)
        self._head = whole[: payload + ID_START]
        self._tail = whole[payload + ID_END :]
        self._pad = id_pad(key)

    def frame(self, identifier: bytes) -> bytes:
        """Return the frame with this id of ten digits."""
        if self._pad:
            identifier = (int.from_bytes(identifier, "big") ^ self._pad).to_bytes(10, "big")
        return self._head + identifier + self._tail


def id_pad(key: bytes) -> int:
    """Return what an id's digits are masked with, as one integer; 0 without a key."""
    return int.from_bytes((key * 4)[ID_START % 4 :][:10], "big")


def request_template(size: int) -> Template:
    """Return a masked request whose JSON text has `size` bytes."""
    return Template(_message(_REQUEST_MIDDLE, size), MASK_KEY)


def request_text(size: int) -> str:
    """Return the JSON text of a request of `size` bytes; its id is FIRST_ID."""
    return _message(_REQUEST_MIDDLE, size).decode()


def response_template(size: int) -> Template:
    """Return an unmasked response whose JSON text has `size` bytes."""
    return Template(_message(_RESPONSE_MIDDLE, size), NO_KEY)


def _message(middle: bytes, size: int) -> bytes:
    room = size - len(_PREFIX) - 10 - len(middle) - len(_SUFFIX)
    if room < 0:
        raise ValueError(f"a message has at least {SMALLEST_MESSAGE} bytes, not {size}")
    text = (_TEXT * (room // len(_TEXT) + 1))[:room]
    return b"%s%d%s%s%s" % (_PREFIX, FIRST_ID, middle, text, _SUFFIX)
