"""Drives the detector by a recording's own time."""

from __future__ import annotations

from collections.abc import Callable

from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.detector import AnomalyDetector

OnTransition = Callable[[Transition], None]


class ReplayRunner:
    """Looks whenever the recording's time passes an interval; urgent looks come at once."""

    def __init__(self, detector: AnomalyDetector, on_transition: OnTransition) -> None:
        self._detector = detector
        self._on_transition = on_transition
        self._interval_ns = round(detector.settings.check_interval * 1e9)
        self._due_ns = self._interval_ns

    def advance(self, now_ns: int) -> None:
        """Let the time pass until just before the next message."""
        while self._due_ns <= now_ns:
            self._tell(self._detector.check(self._due_ns))
            self._due_ns += self._interval_ns

    def settle(self, now_ns: int) -> None:
        """Take the urgent look that a message has called for."""
        if self._detector.urgent:
            self._tell(self._detector.check_urgent(now_ns))

    def _tell(self, transitions: list[Transition]) -> None:
        for transition in transitions:
            self._on_transition(transition)
