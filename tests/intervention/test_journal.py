"""The journal: what is recorded of an attempt, and that it is remembered before it is told."""

from __future__ import annotations

import random
from typing import Any

import pytest

from debbie_otel.intervention.attempt import Environment
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import HistorySettings
from debbie_otel.intervention.journal import InterventionJournal
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import Done, InterventionEvent
from tests.intervention import alerts
from tests.intervention.stage import ENDS, LivePlay


class Kept:
    """A journal of a live session, and what is told by it."""

    def __init__(self) -> None:
        self.live = LivePlay()
        environment = Environment(
            sessions=self.live,
            events=self.live.monitor.events,
            clock=self.live.clock,
            guard=self.live.guard,
            records=self.live.session_records,
        )
        self.history = InterventionHistory(None, HistorySettings(), self.live.clock)
        self.journal = InterventionJournal(self.history, environment, random.Random(3))
        self.told: list[InterventionEvent] = []
        self.remembered: list[list[InterventionRecord]] = []
        self.live.monitor.subscribe_to_interventions(self._heard)

    def _heard(self, event: InterventionEvent) -> None:
        self.told.append(event)
        self.remembered.append(self.history.recent())


def test_an_attempt_is_remembered_and_then_told() -> None:
    kept = Kept()
    alert, done = alerts.alert(), Done.acted("said")
    facts: dict[str, Any] = {
        "attempt": 2,
        "started_ns": kept.live.clock() - 5,
        "result": InterventionResult.SUCCESS,
    }
    record = kept.journal.record(alert, "prompt_injection", **facts)
    kept.journal.end(alert, record, done)
    assert (record.dialect, record.agent) == ("aiwhisperer", "aiwhisperer")
    assert (record.ended_ns, record.alert_message) == (kept.live.clock(), alert.message)
    assert len(record.id) == 32
    (event,) = kept.told
    assert (event.phase, event.attempt, event.done, event.record) == ("ended", 2, done, record)
    assert kept.remembered == [[record]]


def test_what_was_not_tried_is_recorded_with_its_reason() -> None:
    kept = Kept()
    kept.live.tell(ENDS)
    record = kept.journal.skip(alerts.alert(), "state_reset", "budget", "enough")
    assert (record.result, record.reason, record.detail) == ("skipped", "budget", "enough")
    assert (record.attempt, record.duration, record.agent) == (0, 0.0, "")  # the session is gone
    assert kept.history.recent() == [record]
    assert kept.told[0].done is None


def test_a_history_that_fails_keeps_nothing_from_being_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    kept.live.guard.strict = False  # as outside of tests
    monkeypatch.setattr(kept.history, "add", lambda _: 1 / 0)
    kept.journal.skip(alerts.alert(), "state_reset", "budget", "enough")
    assert [event.phase for event in kept.told] == ["ended"]
    assert "the history of interventions failed" in caplog.text
