"""Writes lines from a thread of its own: a console that nobody reads must not stop the wire."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TextIO

_END = None


class LineWriter:
    """A bounded queue of lines before a stream.

    Args:
        stream: Where lines go.
        size: Lines that may wait; beyond, lines are left out, and it is said how many.

    """

    def __init__(self, stream: TextIO, size: int = 10_000) -> None:
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(size)
        self._left_out = 0
        self._thread: threading.Thread | None = None

    def __call__(self, line: str) -> None:
        """Queue a line; never blocks. The first one starts the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="debbie-console", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self._left_out += 1

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, for at most `timeout` seconds."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put(_END, timeout=timeout)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (line := self._queue.get()) is not _END:
            if self._left_out:
                left_out, self._left_out = self._left_out, 0
                line = f"({left_out} lines left out)\n{line}"
            try:
                self._stream.write(line + "\n")
                if self._queue.empty():
                    self._stream.flush()
            except (OSError, ValueError, UnicodeEncodeError):
                return  # nobody reads any more
