"""One session and its vitals, as a transcript goes on."""

from __future__ import annotations

from typing import Any

import msgspec

from debbie_otel.detection.control_metrics import Reading
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.detection.signals import SessionVitals
from debbie_otel.session import events as ev
from tests.play import Play

ASK = '>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}'


class Patient:
    """A stage, and the vitals of the session that the first transcript started last."""

    def __init__(self, transcript: str, dialect: str | None = None, **settings: Any) -> None:
        self.stage = Play(dialect)
        settings.setdefault("silence", None)
        self.settings = msgspec.convert(settings, DetectionSettings)
        self.vitals: SessionVitals | None = None
        self.play(transcript)

    def play(self, transcript: str) -> bool:
        """Play lines; return whether one of them cannot wait."""
        before = len(self.stage.events)
        self.stage.play(transcript)
        urgent = False
        for event in self.stage.events[before:]:
            if self.vitals is None or (isinstance(event, ev.SessionStarted) and not before):
                self.vitals = SessionVitals(event.session, self.settings)
            if event.session is self.vitals.info:
                urgent = self.vitals.take(event) or urgent
        return urgent

    def readings(self) -> dict[str, Reading]:
        assert self.vitals is not None
        return {reading.metric: reading for reading in self.vitals.readings(self.stage.now)}
