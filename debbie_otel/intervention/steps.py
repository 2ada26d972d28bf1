"""What a strategy says that it did, and what is told of an intervention while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.channel import Answer
from debbie_otel.intervention.records import InterventionRecord


class DoneKind(StrEnum):
    """What a strategy can have done."""

    ACTED = "acted"
    """Something was done to the session; whether the agent moves afterwards is waited for."""
    IMPOSSIBLE = "impossible"
    """Nothing was done, as this strategy has no way here; it is not tried again for this alert."""
    FAILED = "failed"
    """It was tried, and could not be done."""
    DIAGNOSED = "diagnosed"
    """Something was found out, and nothing done to the session."""
    ESCALATED = "escalated"
    """A person was told."""


class Done(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a strategy did; whether it helped is found out afterwards.

    Attributes:
        kind: What it was; see `DoneKind`.
        detail: One sentence for people.
        reason: A word or two, where nothing came of it: what the record has as its reason.
        text: The words that were sent.
        answer: The server's answer to what was sent: fails or carries an error if it is refused.
        evidence: JSON, for the record.
        undo: Gives up what waits for a recovery; called where none came.

    """

    kind: DoneKind
    detail: str
    reason: str = ""
    text: str | None = None
    answer: asyncio.Future[Answer] | None = None
    evidence: dict[str, Any] = {}
    undo: Callable[[], None] | None = None

    @classmethod
    def acted(
        cls,
        detail: str,
        *,
        text: str | None = None,
        answer: asyncio.Future[Answer] | None = None,
        evidence: dict[str, Any] | None = None,
        undo: Callable[[], None] | None = None,
    ) -> Done:
        """Return that something was done to the session."""
        return cls(
            kind=DoneKind.ACTED,
            detail=detail,
            text=text,
            answer=answer,
            evidence=evidence or {},
            undo=undo,
        )

    @classmethod
    def impossible(cls, reason: str, detail: str) -> Done:
        """Return that nothing was done, as there is no way."""
        return cls(kind=DoneKind.IMPOSSIBLE, reason=reason, detail=detail)

    @classmethod
    def failed(cls, reason: str, detail: str, evidence: dict[str, Any] | None = None) -> Done:
        """Return that it was tried and could not be done."""
        return cls(kind=DoneKind.FAILED, reason=reason, detail=detail, evidence=evidence or {})


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
