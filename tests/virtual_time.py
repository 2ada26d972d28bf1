"""An event loop whose time runs on by itself while nothing is to be done.

Sockets, threads and the system calls between them are real; only waiting is not. When no socket is
ready and no job of the loop's executor is under way, the clock jumps to the next timer, so that a
session of fifteen minutes is played in a second with all its delays.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SETTLES = 0.002
"""Seconds in which what is on its way between two sockets or threads of this process arrives."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time` is the monotonic clock's, plus all the time that was left out."""

    def __init__(self) -> None:
        self._left_out = 0.0
        self._jobs = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return seconds, as `call_later` counts them."""
        return time.monotonic() + self._left_out

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a job on a thread; the clock does not jump before it is done."""
        self._jobs += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Any) -> None:
        self._jobs -= 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing but a timer can wake it up."""
        return self._jobs == 0

    def jump(self, seconds: float) -> None:
        """Leave time out."""
        self._left_out += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= _SETTLES:
            return super().select(timeout)
        while not (ready := super().select(_SETTLES)):
            if self._loop.is_idle:
                self._loop.jump(timeout)
                break
        return ready


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def clock() -> Callable[[], int]:
    """Return a clock of nanoseconds that follows the running loop."""
    loop = asyncio.get_running_loop()
    offset = time.time_ns() - round(loop.time() * 1e9)
    return lambda: offset + round(loop.time() * 1e9)
