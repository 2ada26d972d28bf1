"""Rules: pure functions from points to conditions.

The built-in ones compare a control metric of a session with a threshold. A user's own rule watches
any metric of a MeterProvider that the `DetectorReader` is attached to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf, nextafter
from typing import Any

import msgspec

from debbie_otel import semconv
from debbie_otel.detection import control_metrics as control
from debbie_otel.detection.alerts import Condition
from debbie_otel.detection.control_metrics import Point
from debbie_otel.detection.settings import CONTROL, SEVERITIES, DetectionSettings, RuleSettings


class Threshold(msgspec.Struct, frozen=True):
    """A control metric that must not exceed a value.

    Attributes:
        metric: Its short name.
        alert_type: What it is then.
        above: The value; the least one where
        own_limit: each point says what is too much of it.
        per_subject: Whether each subject is judged by itself.

    """

    metric: str
    alert_type: str
    above: float
    per_subject: bool = False
    own_limit: bool = False


def thresholds(settings: DetectionSettings) -> dict[str, Threshold]:
    """Return the built-in rules, by the name of the metric that they watch."""
    shortest = settings.stall_threshold
    if (marks := settings.silence) is not None:
        table = (marks.first_token, marks.between_tokens, marks.after_tool, marks.tool)
        shortest = min(marks.mid_task or settings.stall_threshold, marks.sub_agent, *table)
    rules = [
        Threshold("silence", "session_stall", shortest, own_limit=True),
        Threshold("silence.long", "session_stall", shortest, own_limit=True),
        Threshold("response.ratio", "slow_response", settings.slow_factor, per_subject=True),
        Threshold("error.ratio", "high_error_rate", settings.error_rate),
        Threshold("loop.count", "tool_loop", 1),  # each kind of loop has a limit of its own
        Threshold("memory.ratio", "memory_spike", settings.memory_factor),
        Threshold("retries", "retry_storm", settings.retries),
    ]
    if settings.call_timeout is not None:
        rules.append(Threshold("call.age", "request_timeout", settings.call_timeout))
    budgets = [
        ("turn.steps", "call_budget", settings.call_budget),
        ("turn.tokens", "token_budget", settings.token_budget),
        ("turn.time", "turn_time", settings.turn_time),
    ]
    rules += [  # a budget may be used up; what goes beyond is told
        Threshold(metric, alert_type, nextafter(budget, inf), per_subject=True)
        for metric, alert_type, budget in budgets
        if budget is not None
    ]
    return {CONTROL + rule.metric: rule for rule in rules}


def floors(rules: Iterable[Threshold], watched: Iterable[RuleSettings]) -> dict[str, float]:
    """Return from which value on a control metric is worth writing, by its short name.

    That is half of what is allowed, and everything where a rule of the user's watches the metric;
    what no rule watches is missing. Thousands of healthy sessions cost next to nothing by this.
    """
    found = {rule.metric: rule.above / 2 for rule in rules}
    names = (rule.metric for rule in watched if rule.metric.startswith(CONTROL))
    return found | {name.removeprefix(CONTROL): -inf for name in names}


def exceeded(
    points: Iterable[Point], rules: dict[str, Threshold], settings: DetectionSettings
) -> list[Condition]:
    """Return a condition for each session and rule whose threshold is reached."""
    found = []
    for point in points:
        rule = rules.get(point.metric)
        if rule is None or point.value < rule.above:
            continue
        attributes = point.attributes
        if rule.own_limit and point.value < float(attributes[control.LIMIT]):
            continue
        subject = str(attributes.get(control.SUBJECT, ""))
        key = (
            str(attributes[semconv.SESSION_ID]),
            rule.alert_type,
            subject if rule.per_subject else "",
        )
        found.append(
            Condition(
                key,
                SEVERITIES[rule.alert_type],
                str(attributes[control.TEXT]),
                int(attributes[control.SINCE]),
                {
                    "metric": point.metric,
                    "value": round(point.value, 3),
                    "threshold": attributes.get(control.LIMIT, rule.above),
                    "subject": subject,
                },
                round(settings.pending.get(rule.alert_type, 0.0) * 1e9),
            )
        )
    return found


class MetricRule:
    """A user's rule with the points of its window.

    On a control metric each session is judged by itself; what it shows no more is over.
    """

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self._by_session = settings.metric.startswith(CONTROL)
        self._points: deque[Point] = deque(maxlen=100_000)

    def add(self, points: Iterable[Point]) -> None:
        """Take in new points."""
        self._points.extend(p for p in points if self._is_meant(p))

    def conditions(self, now_ns: int) -> list[Condition]:
        """Return what is beyond the threshold now."""
        rule = self.settings
        oldest = now_ns - round(rule.over * 1e9)
        while self._points and self._points[0].time_ns <= oldest:
            self._points.popleft()
        groups: dict[tuple[str, str], list[Point]] = {}
        for point in self._points:
            subject = "" if rule.by is None else str(point.attributes.get(rule.by, ""))
            session = _session(point) if self._by_session else ""
            groups.setdefault((session, subject), []).append(point)
        found = []
        for (_, subject), group in groups.items():
            if self._by_session and rule.aggregate == "last" and group[-1].time_ns < now_ns:
                continue
            value = aggregate(rule, group)
            if value is not None and self._is_beyond(value):
                found.append(self._condition(subject, group, value))
        return found

    def forget(self, session_id: str) -> None:
        """Drop what a session has shown that has ended."""
        if self._by_session:
            left = [point for point in self._points if _session(point) != session_id]
            self._points = deque(left, self._points.maxlen)

    def _is_meant(self, point: Point) -> bool:
        return point.metric == self.settings.metric and all(
            str(point.attributes.get(name)) == value for name, value in self.settings.where.items()
        )

    def _is_beyond(self, value: float) -> bool:
        rule = self.settings
        return (rule.above is not None and value > rule.above) or (
            rule.below is not None and value < rule.below
        )

    def _condition(self, subject: str, group: list[Point], value: float) -> Condition:
        rule = self.settings
        session = _session(group[-1])
        limit = f"above {rule.above:g}" if rule.above is not None else f"below {rule.below:g}"
        about = f" of {subject}" if subject else ""
        details: dict[str, Any] = {
            "metric": rule.metric,
            "value": round(value, 6),
            "subject": subject,
        }
        details["threshold"] = rule.above if rule.above is not None else rule.below
        return Condition(
            (session, rule.name, subject),
            rule.severity,
            f"{rule.aggregate} of {rule.metric}{about} is {value:g}, {limit}",
            group[0].time_ns,
            details,
            round(rule.for_ * 1e9),
            rule.strategies,
        )


def _session(point: Point) -> str:
    return str(point.attributes.get(semconv.SESSION_ID, ""))


def aggregate(rule: RuleSettings, points: list[Point]) -> float | None:
    """Return one number for the points of a window, oldest first; None where there is none."""
    match rule.aggregate:
        case "last":
            return points[-1].value
        case "sum":
            return _increase(points)
        case "rate":
            return _increase(points) / rule.over
        case "mean":
            count = sum(point.count for point in points)
            return sum(point.value for point in points) / count if count else None
        case "quantile":
            return _quantile(points, rule.quantile)


def _increase(points: list[Point]) -> float:
    """Sum deltas; of levels, how much they grew, each set of attributes by itself."""
    if points[-1].is_delta:
        return sum(point.value for point in points)
    first: dict[tuple[tuple[str, str], ...], float] = {}
    last: dict[tuple[tuple[str, str], ...], float] = {}
    for point in points:
        series = tuple(sorted((name, repr(value)) for name, value in point.attributes.items()))
        first.setdefault(series, point.value)
        last[series] = point.value
    return sum(value - first[series] for series, value in last.items())


def _quantile(points: list[Point], quantile: float) -> float | None:
    """Estimate a quantile from histogram buckets, linear within a bucket."""
    histograms = [point.buckets for point in points if point.buckets is not None]
    if not histograms:
        return None
    bounds = histograms[-1][0]
    counts = [sum(h[1][i] for h in histograms if h[0] == bounds) for i in range(len(bounds) + 1)]
    total = sum(counts)
    if not total:
        return None
    rank, below = quantile * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            if index == len(bounds):
                return bounds[-1] if bounds else None
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - below) / count
        below += count
    return None
