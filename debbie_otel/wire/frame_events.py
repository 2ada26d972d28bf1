"""What is told of the frames of one direction of a connection."""

from __future__ import annotations

import msgspec
from websockets.frames import Opcode

from debbie_otel.wire.direction import MessageDirection

TOO_LARGE = "larger than the inspection limit"
"""Why a message of more than the limit is skipped."""


class PayloadSeen(msgspec.Struct, frozen=True, gc=False):
    """A whole data message, defragmented and decompressed; `text` tells TEXT from BINARY."""

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
