"""Messages of one direction of a program's connection that are judged before they go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from websockets.frames import Frame, Opcode

_CLOSE, _CONT = Opcode.CLOSE, Opcode.CONT  # websockets < 17 has no such names
_PING, _PONG = Opcode.PING, Opcode.PONG

Filter = Callable[[bytes], bytes | None]
"""Gets the payload of a message; returns what goes on in its place: the same, another payload, or
None for nothing. Runs on the wire's thread, and must not block."""


class Sieve:
    """Holds the frames of a message until it is whole and judged.

    Args:
        limit: Bytes; larger messages are not judged.
        failed: Told of a failure of the filter; the message goes on then, as one too many is better
            than one too few.

    Attributes:
        filter: Judges the messages; None lets all go on.

    """

    def __init__(self, limit: int, failed: Callable[[Exception], None]) -> None:
        self.filter: Filter | None = None
        self._limit = limit
        self._failed = failed
        self._held: list[Frame] = []
        self._size = 0
        self._holding = False
        self._exempt: bytes | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames need not be shown to it now."""
        return self.filter is None and not self._held and self._exempt is None

    @contextlib.contextmanager
    def exempting(self, payload: bytes) -> Iterator[None]:
        """Let one message go on meanwhile, whatever the filter says: it is ours."""
        self._exempt = payload
        try:
            yield
        finally:
            self._exempt = None

    def is_exempt(self, frame: Frame) -> bool:
        """Tell whether a frame is the message that is exempt; once."""
        found = frame.fin and frame.opcode is not _CONT and frame.data == self._exempt
        if found:
            self._exempt = None
        return found

    def judge(self, payload: bytes) -> bytes | None:
        """Return what goes on in the place of a message; None for nothing."""
        judge = self.filter
        if judge is None:
            return payload
        try:
            return judge(payload)
        except Exception as error:  # noqa: BLE001 - the program must not notice
            self._failed(error)
            return payload

    def sift(self, frame: Frame) -> list[Frame]:
        """Return the frames that go on now.

        A message that had begun before there was a filter is not judged.
        """
        opcode = frame.opcode
        if opcode is _CLOSE:
            return [*self._let_go(), frame]
        if opcode is _PING or opcode is _PONG:
            return [frame]
        if opcode is not _CONT:
            self._holding = self.filter is not None
        if not self._holding:
            return [frame]
        self._held.append(frame)
        self._size += len(frame.data)
        if self._size > self._limit:
            return self._let_go()
        if not frame.fin:
            return []
        held = self._let_go()
        payload = bytes(held[0].data) if len(held) == 1 else b"".join(f.data for f in held)
        judged = self.judge(payload)
        if judged is None:
            return []
        return held if judged == payload else [Frame(held[0].opcode, judged)]

    def _let_go(self) -> list[Frame]:
        held, self._held = self._held, []
        self._size, self._holding = 0, False
        return held
