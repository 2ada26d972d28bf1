"""Calls on the thread of an event loop, from wherever the caller is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


def call_on(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Call on a loop's thread: at once where that is this one, else soon; never after its end."""
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        call()
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(call)
