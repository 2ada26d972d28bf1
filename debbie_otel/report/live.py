"""LiveReporter: reports on the sessions of a running monitor; what DebbieDebugger answers with."""

from __future__ import annotations

from typing import Any

from debbie_otel.detection.alerts import Transition
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.report.analysis import SessionAnalysis, analyze
from debbie_otel.report.document import Report
from debbie_otel.report.text import render_text
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.model import Clock
from debbie_otel.session.record import MAX_MESSAGES, SeenAlert, SessionRecords

_RECORDS = 1000
_SHOWN = 50


class LiveReporter:
    """Answers questions about sessions, live ones and those that ended lately.

    Args:
        events: Of whose sessions.
        records: What those sessions lately did; kept for reports from now on.
        clock: Tells the time.
        history: What was done about them; None where nothing is.
        messages: Of the last messages of a session, how many are kept; 0 for none.

    """

    def __init__(
        self,
        events: EventBus,
        records: SessionRecords,
        clock: Clock,
        history: InterventionHistory | None = None,
        *,
        messages: int = MAX_MESSAGES,
    ) -> None:
        self.history = history
        self._clock = clock
        self._records = records
        records.listen_to(events, report=True, messages=messages)
        record_alerts(records, events)

    def analyze(self, session_id: str) -> SessionAnalysis | None:
        """Analyse a session; None if it was never seen."""
        record = self._records.find(session_id)
        if record is None:
            return None
        done = [] if self.history is None else self.history.session(session_id, _RECORDS)
        return analyze(record, done, self._clock())

    def report(self) -> Report:
        """Return what is known of all sessions."""
        analyses = (self.analyze(session_id) for session_id in self._records.session_ids())
        sessions = tuple(analysis for analysis in analyses if analysis is not None)
        history = self.history
        return Report(
            created_ns=self._clock(),
            sessions=sessions,
            statistics=None if history is None else history.statistics(),
            interventions=() if history is None else tuple(history.recent(_SHOWN)),
        )

    def text(self) -> str:
        """Return the report as Markdown."""
        return render_text(self.report())

    def statistics(self) -> dict[str, Any]:
        """Return totals over all sessions, and of the interventions.

        Keys: sessions, live_sessions, turns, messages, calls, tools, errors, alerts, stalls,
        interventions, success_rate (None without trials), results, by_strategy and by_alert_type
        (attempts and success_rate by name).
        """
        report = self.report()
        metrics = [session.metrics for session in report.sessions]
        totals: dict[str, Any] = {
            "sessions": len(metrics),
            "live_sessions": sum(session.live for session in report.sessions),
        }
        for name in ("turns", "messages", "calls", "tools", "errors", "alerts", "stalls"):
            totals[name] = sum(getattr(one, name) for one in metrics)
        known = report.statistics
        totals["interventions"] = 0 if known is None else known.total.attempts
        totals["success_rate"] = None if known is None else known.total.success_rate
        totals["results"] = (
            {} if known is None else {str(k): n for k, n in known.total.results.items()}
        )
        for group in ("by_strategy", "by_alert_type"):
            totals[group] = {
                name: {"attempts": figures.attempts, "success_rate": figures.success_rate}
                for name, figures in ({} if known is None else getattr(known, group)).items()
            }
        return totals


def record_alerts(records: SessionRecords, events: EventBus) -> None:
    """Have alerts kept in the records of their sessions from now on."""

    def record(transition: Transition) -> None:
        alert = transition.alert
        seen = SeenAlert(
            alert_type=alert.alert_type,
            severity=alert.severity,
            message=alert.message,
            subject=alert.subject or str(alert.details.get("subject", "")),
            fired_ns=alert.fired_ns,
            resolved_ns=alert.resolved_ns,
        )
        records.add_alert(alert.session_id, seen)

    events.subscribe(record, Transition, place="the record of alerts")
