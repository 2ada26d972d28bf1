"""SessionSnapshot: what a script and a person are told of a session. Pure; time is an argument.

Names, times, counts and outcomes; words and arguments only where content capture is on. As JSON it
is what a script reads on stdin, and `session` in the body that a webhook gets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import median
from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.session.model import Call, Outcome, Tool, Turn
from debbie_otel.session.record import Step
from debbie_otel.session.redact import content
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

VERSION = 1
MAX_OPEN = 20
"""Open items of a kind that are told, the oldest first."""
MAX_STEPS = 40
"""Ended items that are told, the last ones."""
MAX_METHODS = 20
MAX_NAME = 200
MAX_WORDS = 1000
_LATEST = 3


class AlertFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An alert.

    Attributes:
        age: Seconds since the condition began.
        details: Evidence: metric, value, threshold, subject.

    """

    type: str
    severity: str
    message: str
    subject: str
    age: float
    details: dict[str, Any]


class OpenItem(msgspec.Struct, frozen=True, kw_only=True):
    """A turn, a tool or a call that has not ended.

    Attributes:
        kind: `turn`, `tool` or `call`.
        age: Seconds since it began.
        waits_for_user: Whether a person has to answer it.
        by: Who made a call: `client` or `agent`; empty for turns and tools.
        arguments: Of a tool, where content is captured; else None.

    """

    kind: str
    name: str
    age: float
    waits_for_user: bool = False
    by: str = ""
    arguments: str | None = None


class EndedItem(msgspec.Struct, frozen=True, kw_only=True):
    """A call, a tool or a turn that has ended.

    Attributes:
        ago: Seconds since it ended.
        duration: Seconds; None where the wire does not tell.
        error: `error.type`; None without one.

    """

    kind: str
    name: str
    ago: float
    duration: float | None
    outcome: str
    error: str | None


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that was called more than once of late.

    Attributes:
        count: Calls in all, of those in `recent`.
        in_a_row: The longest run of calls of this tool with no other tool between.
        failed: Calls that failed.

    """

    name: str
    count: int
    in_a_row: int
    failed: int


class LatestTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long a method or a tool takes, in seconds.

    Attributes:
        count: Answers that are known, of those in `recent`.
        usual: Median of all but the last three; None where there are none.
        latest: The last three, the oldest first.

    """

    name: str
    count: int
    usual: float | None
    latest: tuple[float, ...]


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What was said in a turn: content, cut and redacted."""

    turn: int
    input: str | None
    output: str | None


class SessionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A session at one moment.

    Attributes:
        version: Of this schema.
        time: Seconds since the epoch.
        session_id: As on the wire; that of the alert where the session is gone.
        live: Whether the session is known and has not ended.
        age: Seconds since the session started; None where that is not known.
        idle: Seconds since its last message; None likewise.
        turns, calls, tools, errors, messages: So far.
        tokens: Input and output tokens of the turns that are still known.
        open: What has not ended.
        recent: What has ended of late, the oldest first.
        repeated: Tools called more than once in it, the most frequent first.
        response_times: Of methods and tools in it.
        memory: Bytes of the agent's process; None where it is not watched.
        alert: Why all this is told.
        words: Of the last turns; empty unless content is captured.

    """

    version: int = VERSION
    time: float
    session_id: str
    dialect: str
    agent: str
    live: bool
    age: float | None
    idle: float | None
    turns: int = 0
    calls: int = 0
    tools: int = 0
    errors: int = 0
    messages: int = 0
    tokens: tuple[int, int] = (0, 0)
    open: tuple[OpenItem, ...] = ()
    recent: tuple[EndedItem, ...] = ()
    repeated: tuple[Repetition, ...] = ()
    response_times: tuple[LatestTimes, ...] = ()
    memory: int | None = None
    alert: AlertFacts
    words: tuple[Words, ...] = ()


def snapshot(
    session: Session | None,
    alert: AnomalyAlert,
    now_ns: int,
    *,
    recent: Sequence[Step] = (),
    calls: Iterable[Call] = (),
    memory: int | None = None,
    capture: bool = False,
) -> SessionSnapshot:
    """Take a snapshot.

    Args:
        session: None where it is gone: then only what the alert says is told.
        alert: Why.
        now_ns: Nanoseconds since the epoch.
        recent: What the session did, see `SessionRecords.last_steps`.
        calls: The open requests of its connections, also those of other sessions.
        memory: Bytes of the agent's process; 0 or None where it is not known.
        capture: Whether words and arguments may be told.

    """
    past = tuple(recent)
    told: dict[str, Any] = {
        "time": now_ns / 1e9,
        "alert": _alert(alert, now_ns),
        "recent": tuple(_ended(item, now_ns) for item in past),
        "repeated": _repeated(past),
        "response_times": _response_times(past),
        "memory": memory or None,
    }
    if session is None:
        told |= {"dialect": "", "agent": "", "live": False, "age": None, "idle": None}
        return SessionSnapshot(session_id=clean(alert.session_id), **told)
    info = session.info
    turns = [*session.past, *session.open_turns]
    return SessionSnapshot(
        session_id=clean(info.id),
        dialect=info.dialect,
        agent=clean(info.agent),
        live=info.ended_ns is None,
        age=None if info.started_ns is None else _age(info.started_ns, now_ns),
        idle=_age(info.last_ns, now_ns) if info.messages else None,
        turns=info.turns,
        calls=info.calls,
        tools=info.tools,
        errors=info.errors,
        messages=info.messages,
        tokens=(sum(t.input_tokens for t in turns), sum(t.output_tokens for t in turns)),
        open=_open(session, calls, now_ns, capture),
        words=tuple(map(_words, turns)) if capture else (),
        **told,
    )


def clean(text: str, limit: int = MAX_NAME) -> str:
    """Return a text from the wire as one printable line of at most `limit` characters."""
    line = "".join(c if c.isprintable() else "�" for c in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _age(since_ns: int, now_ns: int) -> float:
    return round(max(now_ns - since_ns, 0) / 1e9, 3)


def _alert(alert: AnomalyAlert, now_ns: int) -> AlertFacts:
    return AlertFacts(
        type=alert.alert_type,
        severity=alert.severity,
        message=clean(alert.message, MAX_WORDS),
        subject=clean(alert.subject),
        age=_age(alert.since_ns, now_ns),
        details={
            name: clean(value) if isinstance(value, str) else value
            for name, value in alert.details.items()
        },
    )


def _open(
    session: Session, calls: Iterable[Call], now_ns: int, capture: bool
) -> tuple[OpenItem, ...]:
    own = [c for c in calls if c.session is session.info and c.tool is None and not c.injected]
    waits = any(call.waits_for_user for call in own)
    turns = [_open_turn(turn, now_ns, waits) for turn in session.open_turns]
    tools = [_open_tool(tool, now_ns, capture) for tool in session.open_tools]
    others = [_open_call(call, now_ns) for call in own if not call.opens_turn]
    return (*turns[:MAX_OPEN], *tools[:MAX_OPEN], *others[:MAX_OPEN])


def _open_turn(turn: Turn, now_ns: int, waits: bool) -> OpenItem:
    age = _age(turn.started_ns, now_ns)
    return OpenItem(kind="turn", name=clean(turn.method), age=age, waits_for_user=waits)


def _open_tool(tool: Tool, now_ns: int, capture: bool) -> OpenItem:
    told = capture and tool.arguments is not None
    return OpenItem(
        kind="tool",
        name=clean(tool.name),
        age=_age(tool.started_ns, now_ns),
        arguments=content(tool.arguments, MAX_WORDS) if told else None,
    )


def _open_call(call: Call, now_ns: int) -> OpenItem:
    return OpenItem(
        kind="call",
        name=clean(call.method),
        age=_age(call.started_ns, now_ns),
        waits_for_user=call.waits_for_user,
        by="client" if call.direction is MessageDirection.CLIENT_TO_SERVER else "agent",
    )


def _ended(item: Step, now_ns: int) -> EndedItem:
    return EndedItem(
        kind=item.kind,
        name=clean(item.name),
        ago=_age(item.ended_ns, now_ns),
        duration=round(item.seconds, 6) if item.timed else None,
        outcome=item.outcome,
        error=clean(item.error) if item.error else _unnamed(item),
    )


def _unnamed(item: Step) -> str | None:
    """Return what an error without a type is called."""
    return "error" if item.outcome == Outcome.FAILED else None


def _repeated(past: Sequence[Step]) -> tuple[Repetition, ...]:
    tools = [item for item in past if item.kind == "tool"]
    runs: Counter[str] = Counter()
    for name, run in groupby(tools, key=lambda item: item.name):
        runs[name] = max(runs[name], sum(1 for _ in run))
    failed = Counter(item.name for item in tools if item.outcome == Outcome.FAILED)
    return tuple(
        Repetition(name=clean(name), count=count, in_a_row=runs[name], failed=failed[name])
        for name, count in Counter(item.name for item in tools).most_common(MAX_METHODS)
        if count > 1
    )


def _response_times(past: Sequence[Step]) -> tuple[LatestTimes, ...]:
    times: dict[str, list[float]] = {}
    for item in past:
        if item.timed and item.outcome == Outcome.COMPLETED:
            times.setdefault(f"{item.kind} {item.name}", []).append(item.seconds)
    return tuple(
        LatestTimes(
            name=clean(name),
            count=len(values),
            usual=round(median(values[:-_LATEST]), 6) if len(values) > _LATEST else None,
            latest=tuple(round(value, 6) for value in values[-_LATEST:]),
        )
        for name, values in sorted(times.items(), key=lambda entry: -len(entry[1]))[:MAX_METHODS]
    )


def _words(turn: Turn) -> Words:
    asked, answered = (
        None if text is None else content(text, MAX_WORDS) for text in (turn.input, turn.output)
    )
    return Words(turn=turn.number, input=asked, output=answered)
