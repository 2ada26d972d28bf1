"""Records of attempts for tests."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from debbie_otel.intervention.records import InterventionRecord, InterventionResult

SECOND = 10**9
INERT = [
    ({"auto_continue": False}, "passive"),
    ({"max_interventions_per_session": 0}, "passive"),
    ({"dry_run": True}, "dry_run"),
]
"""Policies that act on nothing, and what they say for it."""

BEGIN = 1_700_000_000 * SECOND
NOW = BEGIN + 3600 * SECOND
_numbers = itertools.count(1)
_TEMPLATE = InterventionRecord(
    id="",
    session_id="s1",
    agent="bob",
    dialect="aiwhisperer",
    alert_type="session_stall",
    alert_message="Session stalled for 35s",
    strategy="prompt_injection",
    attempt=1,
    started_ns=0,
    ended_ns=0,
    result=InterventionResult.SUCCESS,
)


def attempt(**fields: Any) -> InterventionRecord:
    """A record that ends a second after the one before; two seconds long."""
    number = next(_numbers)
    ended = fields.pop("ended_ns", BEGIN + number * SECOND)
    return msgspec.structs.replace(
        _TEMPLATE,
        **{"id": f"{number:032x}", "started_ns": ended - 2 * SECOND, "ended_ns": ended, **fields},
    )
