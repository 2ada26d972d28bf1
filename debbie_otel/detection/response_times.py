"""Response times of one method against their own baseline."""

from __future__ import annotations

from collections import deque
from math import exp, log
from statistics import median

import msgspec

_RECENT = 4
_SLOW_OF_RECENT = 3
_NEW_NORMAL = 50
_SPREAD = 1.2
_SIGMAS = 3.0
_WIDE = 0.4
_LEAST = 1e-6  # seconds; shorter times have no meaning
_NORMAL = 1.4826  # makes a median absolute deviation comparable to a standard deviation


class Slowness(msgspec.Struct, frozen=True):
    """How slow a method is now: seconds, and in terms of its baseline."""

    current: float
    baseline: float
    since_ns: int

    @property
    def ratio(self) -> float:
        """Current over baseline."""
        return self.current / self.baseline if self.baseline > 0 else 1.0


class ResponseTimes:
    """The last response times of one method.

    Robust on purpose: the first call of a method is cold and does not count, slow calls do not
    spoil the baseline, and what varies by nature must leave its own range, not only its median.
    After fifty slow calls in a row, slow is the new normal.

    Args:
        window: How many make the baseline.
        minimum: How many it takes.
        factor: What is slow, in terms of the baseline's median.
        floor: Seconds by which it must be slower.

    """

    def __init__(self, window: int, minimum: int, factor: float, floor: float) -> None:
        self._minimum = minimum
        self._factor = factor
        self._floor = floor
        self._base: deque[float] = deque(maxlen=window)
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self._first = True
        self._slow_run: list[tuple[float, int]] = []
        self._limit: float | None = None
        self._doubt: float | None = None
        self._stale = 0

    def extend(self, times: list[tuple[float, int]]) -> None:
        """Add response times: seconds, and when it was."""
        if self._first:
            self._first = False
            times = times[1:]
        self._recent.extend(times[-_RECENT:])
        for seconds, time_ns in times:
            if self._doubt is not None and seconds > self._doubt:
                self._add_doubtful(seconds, time_ns)
            else:
                self._add_usual(seconds)

    def _add_doubtful(self, seconds: float, time_ns: int) -> None:
        self._limit = self._find_limit()
        if self._limit is None or seconds <= self._limit:
            self._add_usual(seconds)
            return
        self._slow_run.append((seconds, time_ns))
        if len(self._slow_run) >= _NEW_NORMAL:
            self._base.clear()
            self._base.extend(value for value, _ in self._slow_run)
            self._slow_run.clear()
            self._limit = self._find_limit()
            self._doubt = self._find_doubt()

    def _add_usual(self, seconds: float) -> None:
        self._base.append(seconds)
        if self._slow_run:
            self._slow_run.clear()
        # A baseline of many moves slowly, and sorting it costs more than all the rest.
        self._stale += 1
        if self._stale * 4 >= len(self._base):
            self._doubt, self._stale = self._find_doubt(), 0

    def slowness(self) -> Slowness | None:
        """Return how slow the method is if it is slow now."""
        limit = self._limit
        if limit is None:
            return None
        # A copy, as the thread of the wire may add to it meanwhile.
        slow = [(seconds, when) for seconds, when in list(self._recent) if seconds > limit]
        if len(slow) < _SLOW_OF_RECENT:
            return None
        current = median(seconds for seconds, _ in slow)
        return Slowness(current, median(self._base), slow[0][1])

    def _find_doubt(self) -> float | None:
        """Return what a response time must exceed for a closer look; never above the limit."""
        if len(self._base) < self._minimum:
            return None
        middle = sorted(self._base)[len(self._base) // 2]
        return max(self._factor * middle, middle + self._floor)

    def _find_limit(self) -> float | None:
        """Return what a response time must exceed to be slow; None while there is no baseline.

        Response times are skewed, so their spread is taken on a logarithmic scale, from the median
        absolute deviation; what spreads wide needs more of a baseline.
        """
        if len(self._base) < self._minimum:
            return None
        ordered = sorted(self._base)
        middle = ordered[len(ordered) // 2]
        high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
        if middle > 0:
            # Logarithms keep the order, so that only the median's is needed.
            some = [max(v, _LEAST) for v in ordered] if ordered[0] < _LEAST else ordered
            ratios = sorted([v / middle if v >= middle else middle / v for v in some])
            sigma = _NORMAL * log(ratios[len(ratios) // 2])
            if sigma > _WIDE and len(ordered) < 2 * self._minimum:
                return None
            high = max(_SPREAD * high, middle * exp(_SIGMAS * sigma))
        return max(self._factor * middle, high, middle + self._floor)
