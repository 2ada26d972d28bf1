"""Calls that run side by side, put in the order of their beginning.

An agent that runs the same three tools at once, round after round, repeats itself, in whatever
order they end. So a call that ends waits for those that began before it; but not for one that runs
on in the background while the agent has long begun something else.
"""

from __future__ import annotations

from debbie_otel.session.model import Tool

MAX_OPEN = 64
"""Calls at once that are put in order; beyond, the oldest is no longer waited for."""


class StartOrder:
    """Puts calls that end in the order in which they began."""

    def __init__(self) -> None:
        self._ended: dict[Tool, bool] = {}  # in the order of their beginning
        self._background: dict[Tool, None] = {}

    @property
    def running(self) -> int:
        """Calls that have begun and are not handed on, besides those in the background."""
        return len(self._ended)

    def forget(self) -> None:
        """Forget all."""
        self._ended.clear()
        self._background.clear()

    def started(self, tool: Tool) -> list[Tool]:
        """Take in a call that begins; return those that need not wait any longer, in order."""
        released: list[Tool] = []
        if any(self._ended.values()):
            # The agent went on although an earlier call still runs: that one is not waited for.
            released = [t for t, ended in self._ended.items() if ended]
            last = released[-1]
            for other in list(self._ended):
                if not self._ended.pop(other):
                    self._send_to_background(other)
                if other is last:
                    break
        elif len(self._ended) >= MAX_OPEN:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._send_to_background(oldest)
        self._ended[tool] = False
        return released

    def ended(self, tool: Tool, *, looping: bool) -> list[Tool]:
        """Take in a call that has ended; return those that count now, in order.

        Args:
            tool: The call.
            looping: Whether a loop goes on, which the end of a background call does not break.

        """
        if tool not in self._ended:
            in_background = tool in self._background
            self._background.pop(tool, None)
            return [] if in_background and looping else [tool]
        self._ended[tool] = True
        released: list[Tool] = []
        for other in list(self._ended):
            if not self._ended[other]:
                break
            del self._ended[other]
            released.append(other)
        return released

    def _send_to_background(self, tool: Tool) -> None:
        self._background[tool] = None
        if len(self._background) > MAX_OPEN:
            del self._background[next(iter(self._background))]
