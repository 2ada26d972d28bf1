"""escalate: a person is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.escalation import Escalator
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.steps import Done, DoneKind
from debbie_otel.intervention.strategies.python_script import TakeSnapshot
from debbie_otel.session.session import Session

Tried = Callable[[AnomalyAlert], Awaitable[Sequence[InterventionRecord]]]
"""Returns what has been tried in the alert's session, the oldest first."""


class EscalateStrategy:
    """Tells everybody who is to be told.

    Args:
        escalator: Tells them, and takes it back when the alert is over.
        take: Takes the snapshot of the session.
        tried: Finds what has been tried.

    """

    def __init__(self, escalator: Escalator, take: TakeSnapshot, tried: Tried) -> None:
        self._escalator = escalator
        self._take = take
        self._tried = tried

    async def __call__(self, alert: AnomalyAlert, session: Session | None) -> Done:
        """Escalate; it fails if there are receivers and none was reached."""
        snapshot = self._take(alert, session)
        tried = await self._tried(alert)
        outcome = await self._escalator.raise_alert(alert, snapshot, tried)
        missed = [f"{failure.receiver} ({failure.reason})" for failure in outcome.failed]
        evidence = {"told": list(outcome.delivered), "not_told": missed}
        if missed and outcome.delivered == ("log",):
            detail = f"only the log was told, not {', '.join(missed)}"
            return Done.failed("undelivered", detail, evidence)
        detail = f"told {', '.join(outcome.delivered)}"
        detail += f"; not {', '.join(missed)}" if missed else ""
        return Done(kind=DoneKind.ESCALATED, detail=detail, evidence=evidence)
