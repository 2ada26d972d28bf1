"""The one clock of a process: wall time that never runs backwards."""

from __future__ import annotations

import time

from debbie_otel.session.model import Clock


def wall_clock() -> Clock:
    """Return a clock that takes the wall time once, and goes on with the monotonic clock.

    A step of the system's clock would else give spans that end before they start.
    """
    offset = time.time_ns() - time.monotonic_ns()
    monotonic = time.monotonic_ns
    return lambda: offset + monotonic()
