"""A message that is too large to be kept: its two ends, and its part in the inflater's window."""

from __future__ import annotations

from debbie_otel.wire.deflate import DEFLATE_TAIL, HEAD, TAIL, Inflater
from debbie_otel.wire.framing import apply_mask, turned


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
        self.take(apply_mask(needed, turned(mask, start)) if mask and needed else needed)

    def ends(self) -> tuple[bytes, bytes]:
        """Return the beginning and the end of the message, all of which was taken."""
        if self._inflater is None:
            return self._head, self._tail
        self._inflater.discard(DEFLATE_TAIL)
        return self._inflater.head, self._inflater.tail
