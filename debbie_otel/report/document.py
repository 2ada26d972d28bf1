"""A report as a document: headings, tables and lists, before it becomes Markdown or HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from debbie_otel.intervention.history import Figures, HistoryStatistics
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.report.analysis import SessionAnalysis
from debbie_otel.report.metrics import MonitoringMetrics, ResponseTime
from debbie_otel.session.record import RecentMessage, SeenAlert

MAX_ROWS = 100
"""Rows of a table; beyond, it is said how many there are."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is reported.

    Attributes:
        created_ns: When; nanoseconds since the epoch.
        sources: Where it comes from, for people.
        sessions: The oldest first.
        statistics: Of all interventions that are remembered; None without a history.
        interventions: The last ones in any session, the newest first.

    """

    created_ns: int
    sources: tuple[str, ...] = ()
    sessions: tuple[SessionAnalysis, ...]
    statistics: HistoryStatistics | None = None
    interventions: tuple[InterventionRecord, ...] = ()


class Table(msgspec.Struct, frozen=True):
    """Rows below headings; `numbers` are the columns that are set to the right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


class Bullets(msgspec.Struct, frozen=True):
    """A list of sentences."""

    items: tuple[str, ...]


Block = str | Table | Bullets
"""A paragraph, a table, or a list."""


class Section(msgspec.Struct, frozen=True):
    """A heading of a level (1 is the title) and what stands below it."""

    level: int
    heading: str
    blocks: tuple[Block, ...]


def document(report: Report) -> list[Section]:
    """Lay a report out."""
    sections = [_head(report), _summary(report)]
    if report.sessions:
        sections.append(Section(2, "Sessions", (_sessions(report.sessions),)))
    alerts = [
        (session.session_id, alert) for session in report.sessions for alert in session.alerts
    ]
    if alerts:
        sections.append(Section(2, "Alerts", (_alerts(alerts),)))
    sections += _interventions(report)
    sections.append(Section(2, "Recommendations", (_recommendations(report.sessions),)))
    for session in report.sessions if len(report.sessions) == 1 else ():
        sections += _details(session)
    return sections


# -- sections -----------------------------------------------------------------------------------


def _head(report: Report) -> Section:
    sources = (f"From {', '.join(report.sources)}.",) if report.sources else ()
    return Section(1, "Debbie's report", (f"Written {_date(report.created_ns)}.", *sources))


def _summary(report: Report) -> Section:
    metrics = [session.metrics for session in report.sessions]
    rows = [
        ("Sessions", str(len(metrics)), f"{sum(s.live for s in report.sessions)} live"),
        ("Turns", _sum(m.turns for m in metrics), ""),
        ("Messages", _sum(m.messages for m in metrics), ""),
        ("Calls", _sum(m.calls for m in metrics), _pending(metrics)),
        ("Tool executions", _sum(m.tools for m in metrics), ""),
        ("Errors", _sum(m.errors for m in metrics), ""),
        ("Alerts", _sum(m.alerts for m in metrics), f"{sum(m.stalls for m in metrics)} stalls"),
    ]
    if report.statistics is not None:
        total = report.statistics.total
        rows.append(("Interventions", str(total.attempts), _rate(total)))
    return Section(2, "Summary", (Table(("", "count", ""), tuple(rows), frozenset({1})),))


def _pending(metrics: Sequence[MonitoringMetrics]) -> str:
    pending = sum(m.pending for m in metrics)
    return f"{pending} open" if pending else ""


def _sessions(sessions: Sequence[SessionAnalysis]) -> Table:
    headings = ("session", "speaks", "state", "turns", "calls", "tools", "errors", "alerts",
                "duration")  # fmt: skip
    rows = [
        (
            session.session_id,
            session.dialect,
            _state(session),
            *(str(n) for n in (m.turns, m.calls, m.tools, m.errors, m.alerts)),
            _seconds(m.duration),
        )
        for session in sessions
        for m in (session.metrics,)
    ]
    return _table(headings, rows, 3, 4, 5, 6, 7, 8)


def _state(session: SessionAnalysis) -> str:
    if session.live:
        idle = session.metrics.idle
        return "live" if idle is None else f"live, idle for {_seconds(idle)}"
    if session.ended_ns is None:
        return "no end seen"
    return f"ended: {session.end_reason}" if session.end_reason else "ended"


def _alerts(alerts: Sequence[tuple[str, SeenAlert]]) -> Table:
    rows = [
        (
            _date(alert.fired_ns),
            alert.alert_type,
            alert.severity,
            alert.message,
            session_id,
            _seconds((alert.resolved_ns - alert.fired_ns) / 1e9) if alert.resolved_ns else "",
        )
        for session_id, alert in sorted(alerts, key=lambda item: item[1].fired_ns)
    ]
    headings = ("fired", "alert", "severity", "what", "session", "resolved after")
    return _table(headings, rows, 5)


def _interventions(report: Report) -> list[Section]:
    statistics = report.statistics
    if statistics is None or not statistics.total.attempts:
        return [Section(2, "Interventions", ("None so far.",))]
    recovery = statistics.recovery_seconds
    blocks: list[Block] = [
        "In all sessions that are remembered:",
        _figures("strategy", statistics.by_strategy),
        _figures("alert", statistics.by_alert_type),
    ]
    if recovery is not None:
        blocks.append(f"Half of the recoveries came within {_seconds(recovery)}.")
    if statistics.problem:
        blocks.append(f"The history {statistics.problem}.")
    if report.interventions:
        blocks += ["The last ones:", _attempts(report.interventions)]
    return [Section(2, "Interventions", tuple(blocks))]


def _figures(what: str, groups: dict[str, Figures]) -> Table:
    rows = [
        (
            name,
            str(figures.attempts),
            _rate(figures),
            ", ".join(f"{count} {result}" for result, count in sorted(figures.results.items())),
        )
        for name, figures in groups.items()
    ]
    return _table((what, "attempts", "success", "of which"), rows, 1)


def _attempts(records: Sequence[InterventionRecord]) -> Table:
    rows = [
        (
            _date(record.started_ns),
            record.alert_type,
            record.strategy,
            str(record.result) + (f" ({record.reason})" if record.reason else ""),
            record.detail,
            record.session_id,
            "" if record.recovery_seconds is None else _seconds(record.recovery_seconds),
        )
        for record in reversed(records)
    ]
    headings = ("when", "alert", "strategy", "result", "what", "session", "recovered after")
    return _table(headings, rows, 6)


def _recommendations(sessions: Sequence[SessionAnalysis]) -> Block:
    several = len(sessions) > 1
    items = [
        (f"{session.session_id}: " if several else "") + recommendation.text
        for session in sessions
        for recommendation in session.recommendations
    ]
    return Bullets(tuple(items)) if items else "Nothing stands out."


def _details(session: SessionAnalysis) -> list[Section]:
    sections = []
    metrics = session.metrics
    if metrics.response_times:
        sections.append(_times("Response times", "method", metrics.response_times))
    if metrics.tool_times:
        sections.append(_times("Tool times", "tool", metrics.tool_times))
    if session.recent_messages:
        sections.append(Section(2, "Last messages", (_messages(session.recent_messages),)))
    return sections


def _times(heading: str, name: str, times: Sequence[ResponseTime]) -> Section:
    rows = [
        (t.method, str(t.calls), str(t.errors), *map(_seconds, (t.p50, t.p95, t.slowest)))
        for t in times
    ]
    headings = (name, "calls", "errors", "p50", "p95", "slowest")
    return Section(2, heading, (_table(headings, rows, 1, 2, 3, 4, 5),))


def _messages(messages: Sequence[RecentMessage]) -> Table:
    captured = any(message.content for message in messages)
    rows = [
        (_date(m.time_ns), m.direction, m.type, m.method, str(m.size), m.content)[: 5 + captured]
        for m in messages
    ]
    headings = ("when", "direction", "type", "method", "bytes", "content")[: 5 + captured]
    return _table(headings, rows, 4)


# -- cells ----------------------------------------------------------------------------------------


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], *numbers: int) -> Table:
    shown = list(rows[-MAX_ROWS:])
    if len(rows) > MAX_ROWS:
        left_out = f"({len(rows) - MAX_ROWS} before)"
        shown.insert(0, (left_out, *[""] * (len(headings) - 1)))
    return Table(headings, tuple(shown), frozenset(numbers))


def _sum(numbers: Iterable[int]) -> str:
    return str(sum(numbers))


def _rate(figures: Figures) -> str:
    rate = figures.success_rate
    return "-" if rate is None else f"{rate:.0%} successful"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 0.0095:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def _date(time_ns: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "-"  # a clock gone wild must not cost the report
