"""Calls and tools that failed, among those that did not."""

from __future__ import annotations

from collections import deque

import msgspec


class ErrorRate(msgspec.Struct, frozen=True):
    """Share of what failed lately."""

    errors: int
    calls: int
    since_ns: int
    last_error: str

    @property
    def ratio(self) -> float:
        """Errors over calls."""
        return self.errors / self.calls if self.calls else 0.0


class _Attempt(msgspec.Struct):
    time_ns: int
    key: tuple[str, str]
    error: str | None


class Failures:
    """A window of attempts.

    An attempt that failed and was then repeated with success is forgiven: agents retry, and that is
    as it should be. What never succeeds counts.

    Args:
        window_ns: Age that counts, nanoseconds.
        size: Attempts that count at most.

    """

    def __init__(self, window_ns: int, size: int = 50) -> None:
        self._window_ns = window_ns
        self._attempts: deque[_Attempt] = deque(maxlen=size)
        self._last_failure_ns: int | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing failed lately, so that no success can make good for a failure."""
        return self._last_failure_ns is None

    def add(self, time_ns: int, name: str, arguments: str, error: str | None) -> None:
        """Add an attempt.

        Args:
            time_ns: When it ended.
            name: Method or tool.
            arguments: A digest of its arguments.
            error: `error.type`, None where it succeeded.

        """
        key = (name, arguments)
        if error is not None:
            self._last_failure_ns = time_ns
        elif self._may_have_failed(time_ns):
            for attempt in self._attempts:
                if attempt.key == key:
                    attempt.error = None
        self._attempts.append(_Attempt(time_ns, key, error))

    def add_successes(self, attempts: list[tuple[int, str]]) -> None:
        """Add attempts (time and name) that succeeded while it was `clean`."""
        size = self._attempts.maxlen or len(attempts)
        self._attempts.extend(_Attempt(when, (name, ""), None) for when, name in attempts[-size:])

    def has_failed(self, name: str) -> bool:
        """Whether an attempt of that name failed and was not forgiven."""
        return self._last_failure_ns is not None and any(
            attempt.error is not None and attempt.key[0] == name for attempt in self._attempts
        )

    def _may_have_failed(self, now_ns: int) -> bool:
        """Whether anything failed lately; most sessions need not be searched."""
        last = self._last_failure_ns
        if last is not None and last < now_ns - self._window_ns:
            last = self._last_failure_ns = None
        return last is not None

    def rate(self, now_ns: int) -> ErrorRate:
        """Return the share of errors in the window that ends now."""
        recent = [a for a in list(self._attempts) if a.time_ns >= now_ns - self._window_ns]
        failed = [attempt for attempt in recent if attempt.error is not None]
        return ErrorRate(
            len(failed),
            len(recent),
            failed[0].time_ns if failed else now_ns,
            f"{failed[-1].key[0]}: {failed[-1].error}" if failed else "",
        )

    def repeated(self, now_ns: int, window_ns: int) -> tuple[str, int]:
        """Return what failed most often in a shorter window, and how many times."""
        counts: dict[tuple[str, str], int] = {}
        for attempt in list(self._attempts):
            if attempt.error is not None and attempt.time_ns >= now_ns - window_ns:
                counts[attempt.key] = counts.get(attempt.key, 0) + 1
        if not counts:
            return "", 0
        key = max(counts, key=lambda k: counts[k])
        return key[0], counts[key]
