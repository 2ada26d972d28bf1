"""What came of an attempt, from what was done and what was seen afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.attempt import Done
from debbie_otel.intervention.records import InterventionResult
from debbie_otel.intervention.recovery import RecoveryWatch


def outcome(
    done: Done, watch: RecoveryWatch, timeout: float
) -> tuple[InterventionResult, str, str]:
    """Return result, reason and detail of an attempt."""
    match done.kind:
        case "impossible":
            return InterventionResult.SKIPPED, done.reason, done.detail
        case "failed":
            return InterventionResult.FAILURE, done.reason, done.detail
        case "diagnosed":
            return InterventionResult.PARTIAL_SUCCESS, done.reason, done.detail
        case "escalated":
            return InterventionResult.ESCALATED, done.reason, done.detail
    if watch.moved is not None:
        return InterventionResult.SUCCESS, "", f"{done.detail}; {watch.moved.what}"
    if watch.hopeless is not None:
        reason = "session_ended" if watch.ended else "no_recovery"
        return InterventionResult.FAILURE, reason, f"{done.detail}; {watch.hopeless}"
    nothing = f"the agent did nothing for {timeout:g} s"
    if watch.answered:
        nothing = "that was answered, but the turn that hangs has not moved"
    return InterventionResult.FAILURE, "no_recovery", f"{done.detail}; {nothing}"


def refusal(answer: asyncio.Future[Any]) -> str | None:
    """Return why the server refused what was sent; None if it did not, or has not yet."""
    if not answer.done():
        return None
    if answer.cancelled():
        return "the connection has ended"
    error = answer.exception()
    if error is not None:
        return str(error) if isinstance(error, ChannelError) else repr(error)
    refused = answer.result().error
    return None if refused is None else f"the server refused it: {refused}"
