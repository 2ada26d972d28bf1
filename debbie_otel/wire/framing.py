"""The head of a WebSocket frame, and its mask.

Source: RFC 6455 sections 5.2 and 5.3.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without websockets' C extension
    from websockets.utils import apply_mask

__all__ = ["MAX_HEAD", "apply_mask", "frame_head", "turned"]

MAX_HEAD = 14
"""Bytes of a frame before its payload."""


def frame_head(data: bytes) -> tuple[int, int] | None:
    """Return the sizes of the head and of the payload of the frame that `data` begins with.

    None while there is too little of it to tell.
    """
    if len(data) < 2:
        return None
    length = data[1] & 0x7F
    size = 2 if length < 126 else 4 if length == 126 else 10
    if length > 125:
        length = int.from_bytes(data[2:size], "big")
    size += 4 if data[1] & 0x80 else 0
    return None if len(data) < size else (size, length)


def turned(mask: bytes, by: int) -> bytes:
    """Return the mask of what comes `by` bytes later."""
    shift = by % 4
    return mask[shift:] + mask[:shift]
