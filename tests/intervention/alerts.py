"""Alerts for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert

SECOND = 10**9
_TEMPLATE = AnomalyAlert(
    alert_type="session_stall",
    severity="high",
    session_id="s1",
    subject="",
    message="Session stalled for 30s",
    since_ns=0,
    fired_ns=30 * SECOND,
    details={},
)


def alert(alert_type: str = "session_stall", **fields: Any) -> AnomalyAlert:
    """An alert that fired after 30 seconds in session s1."""
    return msgspec.structs.replace(_TEMPLATE, alert_type=alert_type, **fields)
