"""What is said about interventions: strategies, results, and the record of an attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class InterventionStrategy(StrEnum):
    """What can be done about an alert; a strategy of the user's is `custom:NAME`."""

    PROMPT_INJECTION = "prompt_injection"
    SESSION_RESTART = "session_restart"
    STATE_RESET = "state_reset"
    TOOL_RETRY = "tool_retry"
    PYTHON_SCRIPT = "python_script"
    ESCALATE = "escalate"


class InterventionResult(StrEnum):
    """What came of it."""

    SUCCESS = "success"
    """The agent itself moved afterwards, in time."""
    PARTIAL_SUCCESS = "partial_success"
    """Something was achieved (a diagnosis, one call of several), but not the recovery."""
    FAILURE = "failure"
    SKIPPED = "skipped"
    """Nothing was done; the reason says why."""
    ESCALATED = "escalated"
    """A person was told."""


class Reason(StrEnum):
    """Reasons for a result that the flow of interventions knows; strategies may say others."""

    ALIVE = "alive"
    """The server answers: a silent tool may only be slow. It is looked at again."""
    RECOVERED = "recovered"
    """The agent went on by itself."""
    SESSION_ENDED = "session_ended"
    NO_RECOVERY = "no_recovery"
    """The agent did nothing in time."""
    STOPPED = "stopped"
    """Debbie was stopped before it was known."""
    UNREACHABLE = "unreachable"
    """The server could not be reached, or did not take up what was sent."""
    ERROR = "error"
    """The strategy raised an exception."""
    BUDGET = "budget"
    RATE_LIMIT = "rate_limit"
    REPEATED_FAILURES = "repeated_failures"
    QUEUE = "queue"
    """Too many alerts wait already."""


class InterventionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, from its beginning to its outcome.

    Attributes:
        id: 32 hexadecimal digits, unique.
        session_id: Where.
        agent: `gen_ai.agent.name`; empty where unknown. What has worked is learned by agent.
        dialect: What the session spoke.
        alert_type: Why: session_stall, tool_loop, ...
        alert_message: The alert's sentence.
        strategy: What was done; `custom:NAME` for a registered callable.
        attempt: 1 for the first attempt of this strategy for this alert.
        started_ns, ended_ns: Nanoseconds since the epoch.
        result: What came of it.
        reason: A word or two why it was skipped or failed (passive, budget, no_recovery, ...).
        detail: One sentence for people.
        recovery_seconds: From the alert to the agent's first move; None without recovery.
        evidence: What showed the recovery, what a script found: JSON.

    """

    id: str
    session_id: str
    agent: str
    dialect: str
    alert_type: str
    alert_message: str
    strategy: str
    attempt: int
    started_ns: int
    ended_ns: int
    result: InterventionResult
    reason: str = ""
    detail: str = ""
    recovery_seconds: float | None = None
    evidence: dict[str, Any] = {}

    @property
    def duration(self) -> float:
        """Seconds from the attempt's beginning to its outcome."""
        return (self.ended_ns - self.started_ns) / 1e9
