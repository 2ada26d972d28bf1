"""permessage-deflate: what two peers agree on, and decompression for observation.

Source: RFC 7692 section 7.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec

from debbie_otel.errors import InspectionError

DEFLATE_TAIL = b"\x00\x00\xff\xff"
"""What a sender cuts off the end of a compressed message (RFC 7692 section 7.2.1)."""

HEAD = 512
"""Bytes that are kept from the beginning of a message that is too large: they identify it."""

TAIL = 160
"""Bytes that are kept from its end, where some peers put the id."""

_PIECE = 64 * 1024
_DISCARD_LIMIT = 256 * 2**20  # bytes of a message that may be inflated only to be thrown away
_WINDOW = 32 * 1024


class DeflateParameters(msgspec.Struct, frozen=True):
    """permessage-deflate as agreed for one direction (RFC 7692 section 7.1).

    Attributes:
        no_context_takeover: Whether each message is compressed on its own.
        max_window_bits: Base-2 logarithm of the LZ77 window, 8 to 15.

    """

    no_context_takeover: bool = False
    max_window_bits: int = 15


class Inflater:
    """Decompression of the messages of one direction (RFC 7692 section 7.2.2).

    Args:
        parameters: What was agreed for the direction.
        max_size: Bytes of a decompressed message above which it is not kept.

    Attributes:
        head: The beginning of a message that was not kept, at most HEAD bytes.
        tail: Its end, at most TAIL bytes; empty if it was not looked at so far.
        per_message: Whether each message is compressed on its own.

    Raises:
        InspectionError: By every method but `start`: the direction cannot be followed any more.

    """

    __slots__ = ("_budget", "_inflater", "_max_size", "_window_bits", "head", "per_message", "tail")

    def __init__(self, parameters: DeflateParameters, max_size: int) -> None:
        # zlib deflates with 9 bits where 8 are asked for, so be ready for 9.
        self._window_bits = -max(9, parameters.max_window_bits)
        self.per_message = parameters.no_context_takeover
        self._max_size = max_size
        self._budget = 0
        self.head = self.tail = b""
        self._inflater = zlib.decompressobj(self._window_bits)

    def start(self) -> None:
        """Begin a message."""
        if self.per_message:
            self._inflater = zlib.decompressobj(self._window_bits)
        self._budget = _DISCARD_LIMIT
        self.head = self.tail = b""

    def inflate(self, payload: bytes) -> bytes | None:
        """Return a whole message; None if it is larger than the limit."""
        output = self._decompress(payload + DEFLATE_TAIL, self._max_size + 1)
        while self._inflater.eof and len(output) <= self._max_size:
            # A final block (RFC 7692 section 7.2.3.4): the stream goes on after it, and may
            # refer to what came before. zlib refuses what reaches back further than that.
            rest = self._inflater.unused_data
            self._restart(output)
            if not rest:
                break
            output += self._decompress(rest, self._max_size + 1 - len(output))
        if len(output) <= self._max_size:
            return output
        self.head, self.tail = output[:HEAD], output[-TAIL:]
        self.discard(self._inflater.unconsumed_tail)
        return None

    def discard(self, piece: bytes) -> None:
        """Inflate a part of a message to keep the window right, and its ends; in bounded pieces."""
        if self._budget < 0:
            return
        for output in self.pieces(piece):
            if len(self.head) < HEAD:
                self.head += output[: HEAD - len(self.head)]
            self.tail = (self.tail + output[-TAIL:])[-TAIL:]
            self._budget -= len(output)
            if self._budget < 0:
                self.tail = b""
                if self.per_message:
                    return  # no later message refers to this one
                raise InspectionError("a skipped message that inflates beyond the limit")

    def pieces(self, piece: bytes) -> Iterator[bytes]:
        """Inflate a part of a message; yield what comes out in bounded pieces."""
        while True:
            output = self._decompress(piece, _PIECE)
            yield output
            if self._inflater.eof:
                piece = self._inflater.unused_data
                self._restart(output)
                if not piece:
                    return
            elif len(output) < _PIECE:
                return
            else:
                piece = self._inflater.unconsumed_tail

    def _restart(self, history: bytes) -> None:
        self._inflater = zlib.decompressobj(self._window_bits, zdict=history[-_WINDOW:])

    def _decompress(self, data: bytes, limit: int) -> bytes:
        try:
            return self._inflater.decompress(data, limit)
        except zlib.error as error:
            raise InspectionError(f"a compressed message that does not inflate: {error}") from error
