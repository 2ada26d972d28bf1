"""How the calls and tools of one session have gone: what failed, and how long they took.

Nearly everything succeeds, thousands of times a second where it must: of that the thread of the
wire only takes a note. The notes are digested when somebody looks, on that thread, or when there
are many of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from debbie_otel.detection.failures import Failures
from debbie_otel.detection.response_times import ResponseTimes, Slowness
from debbie_otel.detection.settings import DetectionSettings

_MAX_METHODS = 64
_MAX_NOTES = 256

_Note = tuple[str, float, int, bool]
"""Name, seconds, when it ended (ns), and whether it was an attempt."""


class TrackRecord:
    """Response times and failures of one session.

    Args:
        settings: Windows and thresholds.

    Attributes:
        failures: What failed; up to date after `digest`.

    """

    def __init__(self, settings: DetectionSettings) -> None:
        self.failures = Failures(round(settings.error_window * 1e9))
        self._settings = settings
        self._enough = settings.error_calls
        self._attempts = 0
        self._times: dict[str, ResponseTimes] = {}
        self._notes: deque[_Note] = deque()
        self._lock = threading.Lock()  # held by whoever digests; notes need none

    # -- on the thread of the wire --------------------------------------------------------------

    def answered(self, name: str, seconds: float, now_ns: int, arguments: Any) -> bool:
        """Take in an attempt that succeeded and its time; returns as `attempt`."""
        if not self.failures.clean:
            self.time(name, seconds, now_ns)
            return self.attempt(name, arguments, None, now_ns)
        notes = self._notes
        notes.append((name, seconds, now_ns, True))
        if len(notes) >= _MAX_NOTES:
            self.digest()
        self._attempts += 1
        return self._attempts == self._enough

    def time(self, name: str, seconds: float, now_ns: int) -> None:
        """Take in how long something took."""
        self._notes.append((name, seconds, now_ns, False))
        if len(self._notes) >= _MAX_NOTES:
            self.digest()

    def attempt(self, name: str, arguments: Any, error: str | None, now_ns: int) -> bool:
        """Take in an attempt; return whether the share of errors may be too high since then."""
        # Arguments only matter where something fails, which is rare; they may be large.
        self.digest()
        matter = error is not None or self.failures.has_failed(name)
        self.add(now_ns, name, _digest(arguments) if matter else "", error)
        return error is not None or self._attempts == self._enough

    def add(self, now_ns: int, name: str, arguments: str, error: str | None) -> None:
        """Take in an attempt whose arguments are a digest already."""
        self.digest()
        with self._lock:
            self.failures.add(now_ns, name, arguments, error)
        self._attempts += 1

    # -- on any thread --------------------------------------------------------------------------

    def digest(self) -> None:
        """Take in the notes."""
        if not self._notes:
            return
        with self._lock:
            take = self._notes.popleft  # as more may come meanwhile
            notes = [take() for _ in range(len(self._notes))]
            self.failures.add_successes([(note[2], note[0]) for note in notes if note[3]])
            for name in dict.fromkeys(note[0] for note in notes):
                times = self._times.get(name) or self._new(name)
                if times is not None:
                    times.extend([(note[1], note[2]) for note in notes if note[0] == name])

    def slow(self) -> Iterator[tuple[str, Slowness]]:
        """Yield what is slow now."""
        self.digest()
        for name, times in list(self._times.items()):
            slowness = times.slowness()
            if slowness is not None:
                yield name, slowness

    def _new(self, name: str) -> ResponseTimes | None:
        if len(self._times) >= _MAX_METHODS:
            return None
        s = self._settings
        # Turns are as long as what is asked for: it takes more of them to know the usual.
        minimum = s.response_minimum * (2 if name.startswith("turn ") else 1)
        times = ResponseTimes(s.response_window, minimum, s.slow_factor, s.slow_floor)
        self._times[name] = times
        return times


def _digest(value: Any) -> str:
    """Return a short digest of arguments, to tell a retry from another call."""
    if value is None:
        return ""
    raw = bytes(value) if isinstance(value, msgspec.Raw) else repr(value).encode()
    return blake2b(raw, digest_size=8).hexdigest()
