"""The one clock of a process: wall time that never runs backwards."""

from __future__ import annotations

import time
from collections.abc import Callable

from debbie_otel.session.model import Clock

CATCHING_UP = 8
"""While the system's clock is behind, time passes by one part in this slower."""


def wall_clock(
    wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
) -> Clock:
    """Return a clock that follows the system's, also through a suspend and a step forward.

    A step of the system's clock backwards would give spans that end before they start, and
    windows of time that do not pass. So time goes on then, a little slower than it should, until
    the system's clock is ahead again: an hour takes eight. Durations are an eighth too short
    meanwhile. Reading it costs two readings, always. May be read on any thread.

    Args:
        wall: Nanoseconds since the epoch by the system's clock.
        monotonic: Nanoseconds that no step changes.

    """
    last, read, behind = wall(), monotonic(), False

    def now() -> int:
        nonlocal last, read, behind
        passed, time_ns = monotonic(), wall()
        if behind or time_ns < last:
            since = max(0, passed - read)
            slowed = last + since - since // CATCHING_UP
            behind = time_ns < slowed
            time_ns = max(time_ns, slowed)
        last, read = time_ns, passed
        return time_ns

    return now
