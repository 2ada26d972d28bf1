"""Plays wire transcripts through the detector on the transcript's own clock."""

from __future__ import annotations

from typing import Any

import msgspec

from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.runner import ReplayRunner
from debbie_otel.detection.settings import DetectionSettings, RuleSettings
from tests.play import Play


class Judged(Play):
    """A stage with a detector that looks as time goes by."""

    def __init__(
        self, dialect: str | None = None, rules: tuple[RuleSettings, ...] = (), **settings: Any
    ) -> None:
        super().__init__(dialect)
        self.transitions: list[Transition] = []
        # One threshold for every silence, as where a file sets it; what is owed is judged in
        # test_silence.py.
        settings.setdefault("silence", None)
        self.detector = AnomalyDetector(msgspec.convert(settings, DetectionSettings), rules)
        self._runner = ReplayRunner(self.detector, self.transitions.append)
        self._observed = 0

    def watch(self, transcript: str) -> list[str]:
        """Play lines one by one; return what alerts they led to."""
        before = len(self.transitions)
        for line in transcript.strip().splitlines():
            self.play(line)
            self._runner.advance(self.now)
            for event in self.events[self._observed :]:
                self.detector.observe(event)
            self._observed = len(self.events)
            self._runner.settle(self.now)
        return [told(transition) for transition in self.transitions[before:]]


def told(transition: Transition) -> str:
    """Tell a transition: when, what, about what."""
    alert = transition.alert
    subject = f" {alert.subject}" if alert.subject else ""
    mark = "" if transition.event == "alert" else " resolved"
    return f"{transition.time_ns / 1e9:g}s {alert.alert_type}{subject}{mark}"
