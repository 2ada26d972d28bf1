"""AnomalyAlert and its life: pending, firing once, active, resolved, cooling down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from debbie_otel.detection.settings import Severity

Key = tuple[str, str, str]
"""Session, alert type, subject."""


class Condition(msgspec.Struct, frozen=True):
    """A rule's finding in one look: something is wrong now.

    Attributes:
        key: What it is about.
        severity: How serious.
        message: One sentence.
        since_ns: When it began.
        details: Evidence: value, threshold, subject.
        pending_ns: How long it must hold before it becomes an alert.
        strategies: What a rule of the user wants done; empty leaves it to the configuration.

    """

    key: Key
    severity: Severity
    message: str
    since_ns: int
    details: dict[str, Any]
    pending_ns: int = 0
    strategies: tuple[str, ...] = ()


class AnomalyAlert(msgspec.Struct, eq=False, kw_only=True):
    """An alert, from firing to its end.

    Attributes:
        alert_type: session_stall, tool_loop, ...
        session_id: Where; empty for what concerns no single session.
        subject: Method, tool, or empty.
        message: One sentence.
        since_ns: When the condition began; `fired_ns`, when the alert fired.
        resolved_ns: None while it is active.
        details: Evidence, as it was when the alert fired.

    """

    alert_type: str
    severity: Severity
    session_id: str
    subject: str
    message: str
    since_ns: int
    fired_ns: int
    details: dict[str, Any]
    strategies: tuple[str, ...] = ()
    resolved_ns: int | None = None


class Transition(msgspec.Struct, frozen=True):
    """An alert that fired or was resolved."""

    event: Literal["alert", "resolved"]
    alert: AnomalyAlert
    time_ns: int


class AlertBook:
    """All alerts that are pending, active or cooling down.

    Args:
        cooldown_ns: How long after its end an alert does not fire again.

    """

    def __init__(self, cooldown_ns: int) -> None:
        self._cooldown_ns = cooldown_ns
        self._pending: dict[Key, int] = {}
        self._active: dict[Key, AnomalyAlert] = {}
        self._quiet_until: dict[Key, int] = {}

    @property
    def active(self) -> list[AnomalyAlert]:
        """Alerts that have fired and are not resolved."""
        return list(self._active.values())

    def look(
        self, conditions: Iterable[Condition], now_ns: int, sessions: set[str] | None = None
    ) -> list[Transition]:
        """Take in what holds now; return what follows.

        Args:
            conditions: Everything that is wrong.
            now_ns: When this was found.
            sessions: Those that were looked at; None for all. Of others nothing is concluded.

        """
        transitions: list[Transition] = []
        holding: set[Key] = set()
        for condition in conditions:
            holding.add(condition.key)
            # An active alert keeps saying what it said when it was raised, as its sentence does.
            if condition.key not in self._active and self._is_due(condition, now_ns):
                transitions.append(self._fire(condition, now_ns))
        for key in [k for k in (*self._pending, *self._active) if k not in holding]:
            if sessions is None or key[0] in sessions:
                transitions += self._end(key, now_ns)
        for key in [k for k, until in self._quiet_until.items() if until <= now_ns]:
            del self._quiet_until[key]
        return transitions

    def forget(self, session_id: str, now_ns: int) -> list[Transition]:
        """Resolve what is active of a session that has ended."""
        keys = [k for k in (*self._pending, *self._active) if k[0] == session_id]
        ended = [transition for key in keys for transition in self._end(key, now_ns)]
        for key in [k for k in self._quiet_until if k[0] == session_id]:
            del self._quiet_until[key]
        return ended

    def _is_due(self, condition: Condition, now_ns: int) -> bool:
        if self._quiet_until.get(condition.key, 0) > now_ns:
            return False
        first = self._pending.setdefault(condition.key, now_ns)
        return now_ns - first >= condition.pending_ns

    def _fire(self, condition: Condition, now_ns: int) -> Transition:
        self._pending.pop(condition.key, None)
        session_id, alert_type, subject = condition.key
        alert = AnomalyAlert(
            alert_type=alert_type,
            severity=condition.severity,
            session_id=session_id,
            subject=subject,
            message=condition.message,
            since_ns=condition.since_ns,
            fired_ns=now_ns,
            details=condition.details,
            strategies=condition.strategies,
        )
        self._active[condition.key] = alert
        return Transition("alert", alert, now_ns)

    def _end(self, key: Key, now_ns: int) -> list[Transition]:
        self._pending.pop(key, None)
        alert = self._active.pop(key, None)
        if alert is None:
            return []
        alert.resolved_ns = now_ns
        self._quiet_until[key] = now_ns + self._cooldown_ns
        return [Transition("resolved", alert, now_ns)]
