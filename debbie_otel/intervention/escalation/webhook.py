"""The body that a webhook gets, and its signature. Pure.

The schema is described in docs/interventions.md; `version` changes with it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import Any, Literal

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.escalation.alertmanager import rfc3339
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.snapshot import SessionSnapshot, clean

VERSION = 1
SIGNATURE = "X-Debbie-Signature"
TIMESTAMP = "X-Debbie-Timestamp"
DELIVERY = "X-Debbie-Delivery"

_MAX_ATTEMPTS = 20


def alert_id(alert: AnomalyAlert) -> str:
    """Return what tells this alert from all others: the same for its end, and for each retry."""
    text = f"{alert.session_id}\0{alert.alert_type}\0{alert.subject}\0{alert.fired_ns}"
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def body(
    event: Literal["alert", "resolved"],
    alert: AnomalyAlert,
    now_ns: int,
    snapshot: SessionSnapshot | None = None,
    records: Sequence[InterventionRecord] = (),
) -> bytes:
    """Return the JSON body."""
    told: dict[str, Any] = {
        "version": VERSION,
        "event": event,
        "id": alert_id(alert),
        "time": rfc3339(now_ns),
        "alert": {
            "type": clean(alert.alert_type),
            "severity": alert.severity,
            "message": clean(alert.message, 1000),
            "subject": clean(alert.subject),
            "session_id": clean(alert.session_id),
            "since": rfc3339(alert.since_ns),
            "fired": rfc3339(alert.fired_ns),
            "details": {
                name: clean(value) if isinstance(value, str) else value
                for name, value in alert.details.items()
            },
        },
        "session": snapshot,
        "attempts": [_attempt(record) for record in records[-_MAX_ATTEMPTS:]],
    }
    if event == "resolved":
        told["alert"]["resolved"] = rfc3339(alert.resolved_ns or now_ns)
    return msgspec.json.encode(told)


def signature(secret: bytes, timestamp: str, payload: bytes) -> str:
    """Return `sha256=HEX`: HMAC-SHA256 of the timestamp's header, a dot, and the body.

    With the time in it, what was once sent cannot be sent again later by an attacker.
    """
    digest = hmac.new(secret, timestamp.encode() + b"." + payload, sha256)
    return f"sha256={digest.hexdigest()}"


def _attempt(record: InterventionRecord) -> dict[str, Any]:
    return {
        "strategy": clean(record.strategy),
        "attempt": record.attempt,
        "result": record.result,
        "reason": clean(record.reason),
        "detail": clean(record.detail, 500),
        "started": rfc3339(record.started_ns),
        "seconds": round(record.duration, 3),
    }
