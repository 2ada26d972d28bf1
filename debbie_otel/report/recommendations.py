"""What to do about a session. Every recommendation names what it rests on.

Pure: each rule looks at the facts, and says nothing where they show nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import msgspec

from debbie_otel.intervention.learning import Tally, success_rate, trials_of
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.session.record import SeenAlert, SessionRecord, Step

REPEATED = 3
"""Equal calls of a tool in a turn from which on it is worth a word."""

FAILED, FAILED_SHARE = 2, 0.2
SLOW_SECONDS, SLOW_FACTOR = 1.0, 3.0
WAITING = 30.0
"""Seconds from which on something open is worth a word."""

TRIED, RARELY = 3, 0.34


class Recommendation(msgspec.Struct, frozen=True):
    """What to do, and why.

    Attributes:
        topic: tool_loop, session_stall, errors, slow, pending, memory_spike, interventions.
        text: One or two sentences for people: what was seen, then what to do.
        evidence: The same for machines.

    """

    topic: str
    text: str
    evidence: dict[str, Any]


class _Case(msgspec.Struct, frozen=True):
    """What a rule may look at: the session, what was done in it, and the time."""

    facts: SessionRecord
    records: Sequence[InterventionRecord]
    now_ns: int


_Rule = Callable[[_Case], Iterable[Recommendation]]


def recommend(
    facts: SessionRecord, records: Sequence[InterventionRecord], now_ns: int
) -> tuple[Recommendation, ...]:
    """Return what to do, the gravest first; nothing where nothing stands out."""
    case = _Case(facts, records, now_ns)
    return tuple(found for rule in _RULES for found in rule(case))


# -- tools --------------------------------------------------------------------------------------


def _repeated_tools(case: _Case) -> Iterable[Recommendation]:
    tools = [step for step in case.facts.steps if step.kind == "tool" and step.asked]
    groups: dict[tuple[str, str, int | None], list[Step]] = {}
    for step in tools:
        groups.setdefault((step.name, step.asked, step.turn), []).append(step)
    for (name, _, turn), steps in groups.items():
        if len(steps) < REPEATED:
            continue
        seconds = (steps[-1].ended_ns - steps[0].started_ns) / 1e9
        outcomes = Counter(step.outcome for step in steps)
        shown = f" {steps[-1].arguments}" if steps[-1].arguments else ""
        where = "" if turn is None else f" (turn {turn})"
        yield Recommendation(
            "tool_loop",
            f"Tool {name} was called {len(steps)} times with the same arguments{shown}{where} "
            f"within {_time(seconds)}, {_counts(outcomes)}: have the agent keep the result or "
            "change its approach, or let the tool say why the outcome stays the same.",
            {
                "tool": name,
                "turn": turn,
                "count": len(steps),
                "seconds": round(seconds, 3),
                "outcomes": dict(outcomes),
            },
        )


def _loops_told(case: _Case) -> Iterable[Recommendation]:
    """Loops that the detector saw; where arguments are not known it alone can tell."""
    if any(True for _ in _repeated_tools(case)):
        return
    yield from _alerts(
        case.facts,
        "tool_loop",
        "see whether the tool's description tells the agent when it has what it needs.",
    )


# -- stalls, hanging, slowness ---------------------------------------------------------------------


def _stalls(case: _Case) -> Iterable[Recommendation]:
    yield from _alerts(
        case.facts,
        "session_stall",
        "look at what the server waits for (its model, a tool), and give that a timeout.",
    )
    cut = [s for s in case.facts.steps if s.kind == "turn" and s.outcome == "incomplete"]
    if cut:
        turns = [step.turn for step in cut]
        tools = sum(step.tools for step in cut)
        yield Recommendation(
            "session_stall",
            f"{_count(len(cut), 'turn')} ended in the middle of the task ({_names('turn', turns)}: "
            f"{_count(tools, 'tool call')}, and no answer after that): have the server go on with "
            "the results of tools by itself.",
            {"turns": turns, "tools": tools},
        )


def _pending(case: _Case) -> Iterable[Recommendation]:
    for step in case.facts.open:
        seconds = (case.now_ns - step.started_ns) / 1e9
        if seconds < WAITING:
            continue
        what = "waits for a person" if step.waits else "has been open"
        todo = "answer it." if step.waits else "see what it waits for; it may need a timeout."
        yield Recommendation(
            "pending",
            f"{step.kind.capitalize()} {step.name} {what} for {_time(seconds)}: {todo}",
            {"kind": step.kind, "name": step.name, "seconds": round(seconds, 3)},
        )


def _slow(case: _Case) -> Iterable[Recommendation]:
    for name, steps in _by_name(case.facts.steps, ("call", "tool")).items():
        timed = [s for s in steps if s.timed and s.outcome == "completed"]
        if len(timed) < 2:
            continue
        usual, worst = median(s.seconds for s in timed), max(timed, key=lambda s: s.seconds)
        if worst.seconds < max(SLOW_SECONDS, SLOW_FACTOR * usual):
            continue
        where = "" if worst.turn is None else f" in turn {worst.turn}"
        yield Recommendation(
            "slow",
            f"{worst.kind.capitalize()} {name} took {_time(worst.seconds)}{where}, usually "
            f"{_time(usual)} ({len(timed)} times): look at that one's span for what it did.",
            {
                "name": name,
                "turn": worst.turn,
                "seconds": round(worst.seconds, 3),
                "usual": round(usual, 3),
                "count": len(timed),
            },
        )


# -- errors, memory, what was done -----------------------------------------------------------------


def _errors(case: _Case) -> Iterable[Recommendation]:
    for name, steps in _by_name(case.facts.steps, ("call", "tool")).items():
        failed = [step for step in steps if step.outcome == "failed"]
        if len(failed) < FAILED or len(failed) / len(steps) < FAILED_SHARE:
            continue
        kinds = Counter(step.error or "error" for step in failed)
        messages = (step.message for step in reversed(failed) if step.message != step.error)
        last = next(filter(None, messages), "")
        said = f", last: {last}" if last else ""
        yield Recommendation(
            "errors",
            f"{failed[0].kind.capitalize()} {name} failed {len(failed)} of {len(steps)} times "
            f"({_times(kinds)}{said}): correct the cause, or tell the agent how to avoid it.",
            {"name": name, "failed": len(failed), "count": len(steps), "errors": dict(kinds)},
        )


def _memory(case: _Case) -> Iterable[Recommendation]:
    yield from _alerts(
        case.facts,
        "memory_spike",
        "see what the agent's process keeps; a state reset frees a context.",
    )


def _attempts(case: _Case) -> Iterable[Recommendation]:
    tallies = [Tally(r.strategy, r.alert_type, "", r.result, 1) for r in case.records]
    for trial in trials_of(tallies):
        rate = success_rate([trial])
        if trial.count < TRIED or rate is None or rate >= RARELY:
            continue
        yield Recommendation(
            "interventions",
            f"{trial.strategy} helped in {rate:.0%} of {trial.count} attempts against "
            f"{trial.alert_type} here: put another strategy first in alert_strategy_map, or set "
            'order = "learned".',
            {
                "strategy": trial.strategy,
                "alert_type": trial.alert_type,
                "attempts": trial.count,
                "success_rate": round(rate, 3),
            },
        )


_RULES: tuple[_Rule, ...] = (
    _repeated_tools,
    _loops_told,
    _stalls,
    _pending,
    _errors,
    _slow,
    _memory,
    _attempts,
)

# -- words -----------------------------------------------------------------------------------------


def _alerts(facts: SessionRecord, alert_type: str, todo: str) -> Iterable[Recommendation]:
    alerts = [alert for alert in facts.alerts if alert.alert_type == alert_type]
    if alerts:
        times = "once" if len(alerts) == 1 else f"{len(alerts)} times"
        yield Recommendation(
            alert_type,
            f"{alert_type} fired {times} (last: {alerts[-1].message}): {todo}",
            {"count": len(alerts), "last": _fact(alerts[-1])},
        )


def _fact(alert: SeenAlert) -> dict[str, Any]:
    return {"message": alert.message, "subject": alert.subject, "fired": alert.fired_ns / 1e9}


def _by_name(steps: Iterable[Step], kinds: tuple[str, ...]) -> dict[str, list[Step]]:
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        if step.kind in kinds:
            groups.setdefault((step.kind, step.name), []).append(step)
    return {name: group for (_, name), group in groups.items()}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _names(noun: str, numbers: Sequence[object]) -> str:
    return noun + ("" if len(numbers) == 1 else "s") + " " + ", ".join(map(str, numbers))


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _times(counts: Counter[str]) -> str:
    """Say how often each: the names may be numbers."""
    return ", ".join(f"{count}x {name}" for name, count in counts.most_common())


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
