"""MonitoringMetrics: one session in numbers, as programs and reports get them."""

from __future__ import annotations

from collections.abc import Collection
from statistics import quantiles

import msgspec


class ResponseTime(msgspec.Struct, frozen=True, kw_only=True):
    """How one method (or tool) answers, of the last calls that are known.

    Attributes:
        calls: Calls that ended; `errors`, those that failed.
        p50, p95, slowest: Seconds; None where none was answered.

    """

    method: str
    calls: int
    errors: int
    p50: float | None
    p95: float | None
    slowest: float | None


class MonitoringMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """A session in numbers.

    Attributes:
        messages: Both ways; so far, as turns, calls, tools (executions) and errors.
        stalls: Alerts of type session_stall; `alerts`, of all types.
        pending: Calls, tools and turns that have not ended.
        oldest_pending: Seconds since the first of them began; 0 without any.
        input_tokens, output_tokens: As the agent reported them.
        last_activity: Seconds since the epoch of the last message; None before the first.
        idle: Seconds since then; None likewise, and once the session has ended.
        duration: Seconds from its start to its end, or until now; None if it has not started.
        response_times: By method, the most frequent first.
        tool_times: The same by tool, where the wire tells when one began.

    """

    session_id: str
    messages: int
    turns: int
    calls: int
    tools: int
    errors: int
    stalls: int
    alerts: int
    pending: int
    oldest_pending: float
    input_tokens: int
    output_tokens: int
    last_activity: float | None
    idle: float | None
    duration: float | None
    response_times: tuple[ResponseTime, ...]
    tool_times: tuple[ResponseTime, ...] = ()


def percentile(values: Collection[float], percent: int) -> float | None:
    """Return a percentile, interpolated between values; None without any."""
    if len(values) < 2:
        return next(iter(values), None)
    return quantiles(values, n=100, method="inclusive")[percent - 1]
