"""Sessions played from transcripts, with the alerts that they led to and snapshots of them."""

from __future__ import annotations

from typing import Any

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.snapshot import MAX_STEPS, SessionSnapshot, snapshot
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.live_connections import LiveConnections
from debbie_otel.session.record import SessionRecords
from tests.detection.judged import Judged
from tests.intervention import alerts
from tests.intervention.attempts import attempt


class Told(Judged):
    """A stage with a detector, that can tell of its sessions."""

    def __init__(self, dialect: str | None = None, transcript: str = "", **settings: Any) -> None:
        super().__init__(dialect, **settings)
        self.records = SessionRecords(LiveConnections())
        self.bus = EventBus()
        self.records.listen_to(self.bus)
        self.heard: list[ev.Event] = []
        self.watch(transcript)

    def watch(self, transcript: str) -> list[str]:
        alerts = super().watch(transcript) if transcript.strip() else []
        for event in self.events[len(self.heard) :]:
            self.bus.publish(event)
            self.heard.append(event)
        return alerts

    def alert(self, alert_type: str) -> AnomalyAlert:
        """Return the last alert of a type."""
        found = [t.alert for t in self.transitions if t.alert.alert_type == alert_type]
        assert found, f"no {alert_type} among {[t.alert.alert_type for t in self.transitions]}"
        return found[-1]

    def snapshot(self, alert: AnomalyAlert, **more: Any) -> SessionSnapshot:
        """Return the snapshot of an alert's session, now."""
        sessions = [s for c in self.connections.values() for s in c.sessions]
        session = next(s for s in sessions if s.info.id == alert.session_id)
        return snapshot(
            session,
            alert,
            self.now,
            recent=self.records.last_steps(session.info, MAX_STEPS),
            calls=[call for c in self.connections.values() for call in c.pending_calls],
            **more,
        )


def alert(alert_type: str = "session_stall", **more: Any) -> AnomalyAlert:
    """Return an alert of a session that is not played."""
    facts: dict[str, Any] = {
        "message": "Session stalled for 35s in turn 1",
        "since_ns": 1_700_000_000 * 10**9,
        "fired_ns": 1_700_000_035 * 10**9,
        "details": {"metric": "debbie.control.silence", "value": 35.0, "threshold": 30.0},
    }
    return alerts.alert(alert_type, **{**facts, **more})


def gone(of: AnomalyAlert) -> SessionSnapshot:
    """Return what is told where the session is gone."""
    return snapshot(None, of, of.fired_ns)


def failed(of: AnomalyAlert, strategy: str = "prompt_injection") -> InterventionRecord:
    """Return the record of an attempt that did not help."""
    return attempt(
        strategy=strategy,
        started_ns=of.fired_ns,
        ended_ns=of.fired_ns + 30 * 10**9,
        result=InterventionResult.FAILURE,
        reason="no_recovery",
    )
