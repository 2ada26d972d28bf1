"""What is told of an intervention while it goes on."""

from __future__ import annotations

from typing import Literal

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.attempt import Done
from debbie_otel.intervention.records import InterventionRecord


class InterventionEvent(msgspec.Struct, frozen=True, eq=False):
    """What is told of an attempt.

    Attributes:
        phase: `triggered`, `acted` (something was done, the verification begins), `ended`.
        alert: Why.
        strategy: What.
        attempt: 1 for the first attempt of this strategy for this alert.
        time_ns: When.
        done: What was done; None before.
        record: What came of it; None before the end.

    """

    phase: Literal["triggered", "acted", "ended"]
    alert: AnomalyAlert
    strategy: str
    attempt: int
    time_ns: int
    done: Done | None = None
    record: InterventionRecord | None = None
