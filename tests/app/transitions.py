"""Alerts as the detectors publish them."""

from __future__ import annotations

from typing import Any

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from tests.play import SECOND


def transition(alert_type: str = "session_stall", event: Any = "alert") -> Transition:
    alert = AnomalyAlert(
        alert_type=alert_type,
        severity="high",
        session_id="s1",
        subject="",
        message="It hangs",
        since_ns=0,
        fired_ns=30 * SECOND,
        details={"value": 31.0},
    )
    return Transition(event, alert, 30 * SECOND)
