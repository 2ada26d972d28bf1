"""What is said of a failed call and of its repetitions: an alert, and records. Pure."""

from __future__ import annotations

import random
from typing import Any

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.policy import Refusal
from debbie_otel.intervention.records import InterventionRecord, InterventionResult, new_id
from debbie_otel.session.model import SessionInfo, Tool

STRATEGY = "tool_retry"
ALERT_TYPE = "tool_error"


def alert_of(tool: Tool, now_ns: int) -> AnomalyAlert:
    """Return what is said of a failed call; it is no alert that fires for others."""
    return AnomalyAlert(
        alert_type=ALERT_TYPE,
        severity="low",
        session_id=tool.session.id,
        subject=tool.name,
        message=f"{tool.name} failed: {tool.error_message or tool.error_type or 'error'}",
        since_ns=tool.started_ns,
        fired_ns=now_ns,
        details={"subject": tool.name},
    )


class Records:
    """Makes the records of the repetitions of one call.

    Args:
        alert: That it failed.
        info: Its session.
        dice: For ids.

    """

    def __init__(self, alert: AnomalyAlert, info: SessionInfo, dice: random.Random) -> None:
        self.alert = alert
        self._info = info
        self._dice = dice

    def repeated(
        self, attempt: int, started_ns: int, ended_ns: int, why: str
    ) -> InterventionRecord:
        """Return the record of a repetition; `why` it failed, empty if it succeeded."""
        what = f"{self.alert.subject} was called again"
        facts: dict[str, Any] = {
            "result": InterventionResult.SUCCESS,
            "detail": f"{what} and succeeded",
            "recovery_seconds": (ended_ns - self.alert.fired_ns) / 1e9,
        }
        if why:
            failure = InterventionResult.FAILURE
            facts = {"result": failure, "reason": "failed_again", "detail": f"{what}; {why}"}
        return self._record(attempt, started_ns, ended_ns, **facts)

    def refused(self, refusal: Refusal, now_ns: int) -> InterventionRecord:
        """Return the record of a repetition that may not be made."""
        skipped = InterventionResult.SKIPPED
        return self._record(
            0, now_ns, now_ns, result=skipped, reason=refusal.reason, detail=refusal.detail
        )

    def _record(
        self, attempt: int, started_ns: int, ended_ns: int, **facts: Any
    ) -> InterventionRecord:
        alert, info = self.alert, self._info
        return InterventionRecord(
            id=new_id(self._dice),
            session_id=alert.session_id,
            agent=info.agent,
            dialect=info.dialect,
            alert_type=alert.alert_type,
            alert_message=alert.message,
            strategy=STRATEGY,
            attempt=attempt,
            started_ns=started_ns,
            ended_ns=ended_ns,
            **facts,
        )
