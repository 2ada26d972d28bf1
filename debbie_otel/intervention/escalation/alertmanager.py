"""An alert as Alertmanager's API v2 takes it. Pure.

Source: Alertmanager's OpenAPI document, `postableAlerts`; Prometheus' own sender for `endsAt`: some
way ahead, and told again in time, so that an alert whose sender is gone ends by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.snapshot import OpenItem, SessionSnapshot, clean

PATH = "/api/v2/alerts"

NAMES = {
    "session_stall": "DebbieSessionStalled",
    "tool_loop": "DebbieToolLoop",
    "high_error_rate": "DebbieHighErrorRate",
    "slow_response": "DebbieSlowResponse",
    "memory_spike": "DebbieMemorySpike",
    "request_timeout": "DebbieRequestTimeout",
    "retry_storm": "DebbieRetryStorm",
    "call_budget": "DebbieCallBudgetExceeded",
    "token_budget": "DebbieTokenBudgetExceeded",
    "turn_time": "DebbieTurnTimeExceeded",
}
"""`alertname` by alert type; a rule of the user's is `Debbie` and its own name."""

_MAX_TRIED = 10
_MAX_OPEN = 5


def identity(
    alert: AnomalyAlert, snapshot: SessionSnapshot, labels: Mapping[str, str]
) -> dict[str, str]:
    """Return the labels of an alert, which are what Alertmanager knows it by.

    Args:
        alert: The alert.
        snapshot: Its session.
        labels: The user's; they do not replace ours.

    """
    own = {
        "alertname": NAMES.get(alert.alert_type) or "Debbie" + _camel(alert.alert_type),
        "alert_type": alert.alert_type,
        "severity": alert.severity,
        "service": f"{snapshot.dialect}-agent" if snapshot.dialect else "",
        "agent": snapshot.agent,
        "session_id": alert.session_id,
        "subject": alert.subject,
    }
    told = {name: clean(value) for name, value in own.items()}
    given = {name: clean(value) for name, value in labels.items()}
    return {**given, **{name: value for name, value in told.items() if value}}


def postable(
    labels: Mapping[str, str], annotations: Mapping[str, str], starts_ns: int, ends_ns: int
) -> dict[str, Any]:
    """Return one element of the list that is posted."""
    return {
        "labels": dict(labels),
        "annotations": dict(annotations),
        "startsAt": rfc3339(starts_ns),
        "endsAt": rfc3339(ends_ns),
    }


def described(
    alert: AnomalyAlert, snapshot: SessionSnapshot, records: Sequence[InterventionRecord]
) -> dict[str, str]:
    """Return what people read."""
    return {
        "summary": clean(alert.message, 300),
        "description": "\n".join(_description(alert, snapshot, records)),
    }


def rfc3339(time_ns: int) -> str:
    """Return a time as Alertmanager and JSON want it, in UTC, to the microsecond."""
    return datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC).isoformat(timespec="microseconds")


def _description(
    alert: AnomalyAlert, snapshot: SessionSnapshot, records: Sequence[InterventionRecord]
) -> list[str]:
    facts = {name: value for name, value in alert.details.items() if value not in (None, "")}
    lines = [f"Session {snapshot.session_id}, since {rfc3339(alert.since_ns)}."]
    if facts:
        lines.append("Evidence: " + ", ".join(f"{n} {clean(str(v))}" for n, v in facts.items()))
    if snapshot.open:
        lines.append("Open: " + ", ".join(map(_open, snapshot.open[:_MAX_OPEN])))
    lines.append(
        f"So far {snapshot.turns} turns, {snapshot.calls} calls, {snapshot.tools} tools, "
        f"{snapshot.errors} errors."
    )
    tried = [_tried(record) for record in records[-_MAX_TRIED:]]
    lines.append("Tried: " + "; ".join(tried) if tried else "Nothing has been tried.")
    return lines


def _open(item: OpenItem) -> str:
    return f"{item.kind} {item.name} for {item.age:.0f} s"


def _tried(record: InterventionRecord) -> str:
    why = f" ({clean(record.reason)})" if record.reason else ""
    return f"{clean(record.strategy)} {record.result}{why}"


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))
