"""IngestQueue: messages of a program's connections that wait to be taken in, all in one order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING

from debbie_otel.session.model import TraceContext
from debbie_otel.wire.direction import MessageDirection

if TYPE_CHECKING:
    from debbie_otel.app.program_interceptor import ProgramInterceptor

DELAY = 0.005
"""Seconds that a message waits at most, as long as its event loop goes round."""
MAX_WAITING = 128
"""Messages that wait at most; more are taken in at once."""
MAX_BYTES = 65_536
"""Bytes of their payloads, likewise."""


_Noted = tuple["ProgramInterceptor", MessageDirection, bytes, int, TraceContext | None]


class IngestQueue:
    """The messages of all connections of one Debbie that wait to be taken in.

    Between two system calls of the program the caches are cold for Debbie's code. Many messages
    that are taken in together cost half as much each. So a message that is seen on an event loop
    is only noted; the loop comes back to all of them after `DELAY`. They are taken in at once when
    many wait, and by `catch_up`. Elsewhere - threads, trio - nothing would come back: there each
    message is taken in at once.

    Attributes:
        lock: Held while the state of connections is read or changed.

    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._waiting: deque[
            tuple[ProgramInterceptor, MessageDirection, bytes, int, TraceContext | None]
        ] = deque()
        self._bytes = 0
        self._coming: set[asyncio.AbstractEventLoop] = set()  # those that will call `_due`
        self._catching_up = False

    def note(
        self,
        interceptor: ProgramInterceptor,
        direction: MessageDirection,
        payload: bytes,
        time_ns: int,
        caller: TraceContext | None,
    ) -> None:
        """Note a message, for `interceptor` to take in.

        That takes no lock: the program does not wait while another thread catches up.
        """
        self._waiting.append((interceptor, direction, payload, time_ns, caller))
        self._bytes += len(payload)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.catch_up()
            return
        if loop not in self._coming:
            self._call_later(loop)
        if len(self._waiting) >= MAX_WAITING or self._bytes > MAX_BYTES:
            self.catch_up()

    def catch_up(self) -> None:
        """Have all that waits taken in, in its order; nothing where that is under way already."""
        with self.lock:
            if self._catching_up:  # by a caller of this call
                return
            self._catching_up = True
            self._bytes = 0
            waiting = self._waiting
            try:
                while waiting:
                    interceptor, direction, payload, time_ns, caller = waiting.popleft()
                    interceptor.take_in(direction, payload, time_ns, caller)
            finally:
                self._catching_up = False

    def _call_later(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:
            self._coming = {loop, *(other for other in self._coming if not other.is_closed())}
        # In a context of its own: it is no part of what the program does now.
        loop.call_later(DELAY, self._due, loop, context=Context())

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        # Before it catches up: what is noted from now on may be too late for this time.
        with self.lock:
            self._coming.discard(loop)
        self.catch_up()
