"""InterventionJournal: every attempt becomes a record, is remembered, and is told."""

from __future__ import annotations

import random
from typing import Any

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.attempt import Environment
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import Done, InterventionEvent
from debbie_otel.session.model import SessionInfo


class InterventionJournal:
    """Makes records, and passes them on.

    Args:
        history: Remembers them.
        environment: Its bus tells of them.
        dice: For ids.

    """

    def __init__(
        self, history: InterventionHistory, environment: Environment, dice: random.Random
    ) -> None:
        self.history = history
        self._environment = environment
        self._dice = dice

    def record(
        self,
        alert: AnomalyAlert,
        strategy: str,
        *,
        info: SessionInfo | None = None,
        **facts: Any,
    ) -> InterventionRecord:
        """Return the record of an attempt; facts are the other fields of `InterventionRecord`.

        Args:
            alert: Why.
            strategy: What.
            info: Of the session; by default what is known of it now.
            facts: Without `ended_ns` it has ended now.

        """
        if info is None:
            reach = self._environment.sessions.reach(alert.session_id)
            info = None if reach is None else reach.session.info
        return InterventionRecord(
            id=f"{self._dice.getrandbits(128):032x}",
            session_id=alert.session_id,
            agent="" if info is None else info.agent,
            dialect="" if info is None else info.dialect,
            alert_type=alert.alert_type,
            alert_message=alert.message,
            strategy=strategy,
            **{"ended_ns": self._environment.clock(), **facts},
        )

    def end(self, alert: AnomalyAlert, record: InterventionRecord, done: Done | None) -> None:
        """Remember an attempt, and tell what came of it."""
        with self._environment.guard("the history of interventions"):
            self.history.add(record)
        event = InterventionEvent(
            "ended", alert, record.strategy, record.attempt, record.ended_ns, done, record
        )
        self._environment.events.publish(event)

    def skip(
        self,
        alert: AnomalyAlert,
        strategy: str,
        reason: str,
        detail: str,
        info: SessionInfo | None = None,
    ) -> InterventionRecord:
        """Record that a strategy was not tried, and why."""
        record = self.record(
            alert,
            strategy,
            info=info,
            attempt=0,
            started_ns=self._environment.clock(),
            result=InterventionResult.SKIPPED,
            reason=reason,
            detail=detail,
        )
        self.end(alert, record, None)
        return record
