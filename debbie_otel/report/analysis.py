"""What to make of a session: its numbers, its alerts, what was done, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.report.metrics import MonitoringMetrics, ResponseTime, percentile
from debbie_otel.report.recommendations import Recommendation, recommend
from debbie_otel.session.record import Kind, RecentMessage, SeenAlert, SessionRecord, Step

_ANSWERED = ("completed", "failed")
_MAX_METHODS = 20


class SessionAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """A session, analysed.

    Attributes:
        session_id, dialect, agent: Which.
        live: Whether it still goes on.
        started_ns, ended_ns: Nanoseconds since the epoch; None where unknown, or not yet.
        end_reason: Why it ended; empty while it lives.
        metrics: Its numbers.
        alerts: The oldest first, as are
        recent_messages: the last ones, and
        interventions: everything that was done.
        recommendations: What to do, the gravest first; each names its evidence.

    """

    session_id: str
    dialect: str
    agent: str
    live: bool
    started_ns: int | None
    ended_ns: int | None
    end_reason: str
    metrics: MonitoringMetrics
    alerts: tuple[SeenAlert, ...]
    recent_messages: tuple[RecentMessage, ...]
    interventions: tuple[InterventionRecord, ...]
    recommendations: tuple[Recommendation, ...]


def analyze(
    facts: SessionRecord, interventions: Iterable[InterventionRecord], now_ns: int
) -> SessionAnalysis:
    """Analyse a session.

    Args:
        facts: What is known of it.
        interventions: What was done in it, in any order.
        now_ns: Nanoseconds since the epoch.

    """
    records = tuple(sorted(interventions, key=lambda record: record.started_ns))
    return SessionAnalysis(
        session_id=facts.session_id,
        dialect=facts.dialect,
        agent=facts.agent,
        live=facts.live,
        started_ns=facts.started_ns,
        ended_ns=facts.ended_ns,
        end_reason=facts.end_reason,
        metrics=measure(facts, now_ns),
        alerts=facts.alerts,
        recent_messages=facts.recent,
        interventions=records,
        recommendations=recommend(facts, records, now_ns),
    )


def measure(facts: SessionRecord, now_ns: int) -> MonitoringMetrics:
    """Return a session in numbers."""
    until = now_ns if facts.ended_ns is None else facts.ended_ns
    oldest = min((step.started_ns for step in facts.open), default=now_ns)
    return MonitoringMetrics(
        session_id=facts.session_id,
        messages=facts.messages,
        turns=facts.turns,
        calls=facts.calls,
        tools=facts.tools,
        errors=facts.errors,
        stalls=sum(alert.alert_type == "session_stall" for alert in facts.alerts),
        alerts=len(facts.alerts),
        pending=len(facts.open),
        oldest_pending=max(now_ns - oldest, 0) / 1e9,
        input_tokens=facts.input_tokens,
        output_tokens=facts.output_tokens,
        last_activity=facts.last_ns / 1e9 if facts.last_ns else None,
        idle=(now_ns - facts.last_ns) / 1e9 if facts.last_ns and facts.live else None,
        duration=None if facts.started_ns is None else (until - facts.started_ns) / 1e9,
        response_times=response_times(facts.steps),
        tool_times=response_times(facts.steps, "tool"),
    )


def response_times(steps: Iterable[Step], kind: Kind = "call") -> tuple[ResponseTime, ...]:
    """Return how the methods (or tools) answer, the most frequent first; at most twenty."""
    methods: dict[str, list[Step]] = {}
    for step in steps:
        if step.kind == kind and step.timed:
            methods.setdefault(step.name, []).append(step)
    by_number = sorted(methods.items(), key=lambda item: -len(item[1]))
    return tuple(_response_time(name, calls) for name, calls in by_number[:_MAX_METHODS])


def _response_time(name: str, calls: Sequence[Step]) -> ResponseTime:
    times = sorted(step.seconds for step in calls if step.outcome in _ANSWERED)
    return ResponseTime(
        method=name,
        calls=len(calls),
        errors=sum(step.outcome == "failed" for step in calls),
        p50=percentile(times, 50),
        p95=percentile(times, 95),
        slowest=times[-1] if times else None,
    )
