"""SessionRecords: what each session lately did, kept once for everything that asks about it.

Snapshots for scripts and people, live reports and, from spans, reports after the fact all read this
one record. Each event is taken in once, in order, on the thread on which it is published: what it
costs does not depend on how many sessions and calls there are. Names, times, counts and outcomes
only, unless content is captured. Times are nanoseconds since the epoch.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import msgspec

from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.live_connections import LiveConnections
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import Outcome, SessionInfo, Turn
from debbie_otel.session.redact import content
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

Kind = Literal["turn", "call", "tool"]

MAX_LIVE = 10_000
"""Sessions that are kept; beyond, the one seen first is forgotten."""

MAX_ENDED = 1000
"""Of these, how many may have ended; beyond, the one that ended first is forgotten."""

MAX_STEPS = 400
MAX_ALERTS = 50
MAX_MESSAGES = 50
MAX_ARGUMENTS = 200
"""Characters of arguments and of messages that are kept where content is captured."""

_MANY = 1000
"""Sessions beyond which a new one is given a tenth of the room."""

_MAX_PAYLOAD = 4096
"""Bytes up to which a message's content is kept."""

# In Python 3.11 a member costs 0.1 µs through its enum.
_COMPLETED, _COMPLETED_TEXT = Outcome.COMPLETED, str(Outcome.COMPLETED)

_Sight = tuple[int, MessageDirection, str, str | None, int, bytes]


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A turn, a call or a tool execution that has ended.

    Attributes:
        name: The method, or the tool's name; of a turn, the method that opened it.
        turn: Number of the turn it belongs to; None outside turns.
        timed: Whether the wire tells when it began (AIWhisperer's tools are only reported).
        outcome: As in `session.model.Outcome`.
        error: `error.type`; empty without an error. `message` is what came with it.
        asked: Equal for equal arguments; empty where they are not known, or not compared.
        arguments: The arguments as text, cut and redacted; empty unless content is captured.
        tools: Executions in a turn.
        injected: Whether it is a request of Debbie's own, which no client sent.
        opens_turn: Whether it is the call that opened its turn.

    """

    kind: Kind
    name: str
    turn: int | None
    started_ns: int
    ended_ns: int
    outcome: str
    timed: bool = True
    error: str = ""
    message: str = ""
    asked: str = ""
    arguments: str = ""
    tools: int = 0
    injected: bool = False
    opens_turn: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_ns - self.started_ns) / 1e9


class OpenStep(msgspec.Struct, frozen=True):
    """A turn, a call or a tool that has not ended; `waits` where a person has to answer it."""

    kind: Kind
    name: str
    started_ns: int
    waits: bool = False


class SeenAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert; `resolved_ns` is None while it is active, and where that is not known."""

    alert_type: str
    severity: str
    message: str
    subject: str
    fired_ns: int
    resolved_ns: int | None = None


class RecentMessage(msgspec.Struct, frozen=True, gc=False):
    """A message; `method` is empty for answers, `content` unless content is captured."""

    time_ns: int
    direction: str
    type: str
    method: str
    size: int
    content: str = ""


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session at one moment, whether it was seen live or read from its spans.

    Attributes:
        end_reason: Why it ended; empty while it lives.
        live: Whether it can be acted on now.
        turns, calls, tools, errors, messages: So far; `steps` are the last ones only.
        steps: Without requests of Debbie's own; as `alerts` and `recent`, the oldest first.

    """

    session_id: str
    dialect: str = ""
    agent: str = ""
    live: bool = False
    started_ns: int | None = None
    ended_ns: int | None = None
    end_reason: str = ""
    last_ns: int = 0
    turns: int = 0
    calls: int = 0
    tools: int = 0
    errors: int = 0
    messages: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    steps: tuple[Step, ...] = ()
    open: tuple[OpenStep, ...] = ()
    alerts: tuple[SeenAlert, ...] = ()
    recent: tuple[RecentMessage, ...] = ()


class _Kept:
    """What is kept of a session beside what its model holds."""

    def __init__(self, info: SessionInfo, steps: int, messages: int) -> None:
        self.info = info
        self.steps: deque[Step] = deque(maxlen=steps)
        self.alerts: deque[SeenAlert] = deque(maxlen=MAX_ALERTS)
        self.messages: deque[_Sight] = deque(maxlen=messages)
        self.input_tokens = self.output_tokens = 0
        self.end_reason = ""


class SessionRecords:
    """Keeps the record of each session, also of those that have ended lately.

    Args:
        live: The connections that are open.
        capture_content: Whether arguments and messages may be kept.
        sessions: Sessions that are kept at most; `ended`, those of them that have ended.

    """

    def __init__(
        self,
        live: LiveConnections,
        *,
        capture_content: bool = False,
        sessions: int = MAX_LIVE,
        ended: int = MAX_ENDED,
    ) -> None:
        self._live = live
        self._capture = capture_content
        self._limit = sessions
        self._limit_ended = ended
        self._kept: dict[SessionInfo, _Kept] = {}
        self._ended: dict[SessionInfo, None] = {}
        self._listening = False
        self._for_reports = False
        self._messages = 0

    def listen_to(
        self, events: EventBus, *, report: bool = False, messages: int = MAX_MESSAGES
    ) -> None:
        """Take in events from now on; a second time, only what the first did not ask for.

        Args:
            events: Of the sessions of `live`.
            report: Whether there may be reports: tools' arguments are then compared.
            messages: How many of the last messages of a session are kept for reports.

        """
        if not self._listening:
            self._listening = True
            events.subscribe_handlers(
                {
                    ev.CallEnded: self._call_ended,
                    ev.ToolEnded: self._tool_ended,
                    ev.TurnEnded: self._turn_ended,
                    ev.UsageReported: self._usage,
                    ev.SessionStarted: self._session_started,
                    ev.SessionEnded: self._session_ended,
                },
                place="the record of a session",
            )
        if report and not self._for_reports:
            self._for_reports = True
            self._messages = messages
            for kept in list(self._kept.values()):
                kept.messages = deque(maxlen=messages)
            if messages:
                events.subscribe(
                    self._message, ev.MessageSeen, place="the record of a session's messages"
                )

    # -- what is known -----------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._kept)

    def session_ids(self) -> list[str]:
        """Return the ids of the sessions that are known, in the order of their first event."""
        return list(dict.fromkeys(info.id for info in list(self._kept)))

    def find(self, session_id: str) -> SessionRecord | None:
        """Return what is known of a session; None if that is nothing."""
        kept = self._last(session_id)
        if kept is None:
            return None
        info = kept.info
        session = self._live.session(session_id)
        return SessionRecord(
            session_id=info.id,
            dialect=info.dialect,
            agent=info.agent,
            live=session is not None and session.live,
            started_ns=info.started_ns,
            ended_ns=info.ended_ns,
            end_reason=kept.end_reason,
            last_ns=info.last_ns,
            turns=info.turns,
            calls=info.calls,
            tools=info.tools,
            errors=info.errors,
            messages=info.messages,
            input_tokens=kept.input_tokens,
            output_tokens=kept.output_tokens,
            steps=tuple(step for step in tuple(kept.steps) if not step.injected),
            open=() if session is None else self._open(session),
            alerts=tuple(kept.alerts),
            recent=tuple(map(_recent, tuple(kept.messages))),
        )

    def last_steps(self, session: SessionInfo, count: int) -> tuple[Step, ...]:
        """Return the last steps of a live session, the oldest first, also Debbie's own.

        A call that opened a turn is not among them, as the turn tells it; nor is anything of a
        session that has ended.
        """
        kept = self._kept.get(session)
        if kept is None or session.ended_ns is not None:
            return ()
        return tuple([step for step in tuple(kept.steps) if not step.opens_turn][-count:])

    def _last(self, session_id: str) -> _Kept | None:
        """Return the session of an id, of several the one seen last."""
        found = (k for k in reversed(list(self._kept.values())) if k.info.id == session_id)
        return next(found, None)

    def _open(self, session: Session) -> tuple[OpenStep, ...]:
        turns = [OpenStep("turn", turn.method, turn.started_ns) for turn in session.open_turns]
        tools = [OpenStep("tool", tool.name, tool.started_ns) for tool in session.open_tools]
        calls = [
            OpenStep("call", call.method, call.started_ns, call.waits_for_user)
            for call in self._live.calls_of(session)
            if not call.opens_turn and call.tool is None
        ]
        return (*turns, *tools, *calls)

    # -- what happens ------------------------------------------------------------------------

    def add_alert(self, session_id: str, alert: SeenAlert) -> None:
        """Take in an alert that fired in a session, or (with `resolved_ns`) that is over."""
        kept = self._last(session_id)
        if kept is None:
            return
        same = (alert.alert_type, alert.subject, alert.fired_ns)
        for index, seen in enumerate(kept.alerts):
            if (seen.alert_type, seen.subject, seen.fired_ns) == same:
                kept.alerts[index] = alert
                return
        if alert.resolved_ns is None:
            kept.alerts.append(alert)

    def _of(self, info: SessionInfo) -> _Kept:
        kept = self._kept.get(info)
        if kept is None:
            if len(self._kept) >= self._limit:
                first = next(iter(self._kept))
                del self._kept[first]
                self._ended.pop(first, None)
            few = 1 if len(self._kept) < _MANY else 10
            kept = _Kept(info, MAX_STEPS // few, self._messages // few)
            self._kept[info] = kept
            if info.ended_ns is not None:
                self._has_ended(info)
        return kept

    def _has_ended(self, info: SessionInfo) -> None:
        self._ended[info] = None
        if len(self._ended) > self._limit_ended:
            first = next(iter(self._ended))
            del self._ended[first]
            self._kept.pop(first, None)

    def _session_started(self, event: ev.SessionStarted) -> None:
        self._of(event.session).end_reason = ""
        self._ended.pop(event.session, None)

    def _session_ended(self, event: ev.SessionEnded) -> None:
        self._of(event.session).end_reason = event.reason
        self._has_ended(event.session)

    def _message(self, event: ev.MessageSeen) -> None:
        message = event.message
        keep = self._capture and message.size <= _MAX_PAYLOAD
        kept = self._kept.get(event.session) or self._of(event.session)
        kept.messages.append(_sight(message, message.payload if keep else b""))

    def _usage(self, event: ev.UsageReported) -> None:
        kept = self._of(event.session)
        kept.input_tokens += event.input_tokens
        kept.output_tokens += event.output_tokens

    def _call_ended(self, event: ev.CallEnded) -> None:
        call = event.call
        if call.tool is not None:
            return  # the tool tells it
        kept = self._kept.get(event.session) or self._of(event.session)
        if call.outcome is _COMPLETED:  # fast path
            turn = call.turn
            kept.steps.append(
                Step(
                    kind="call",
                    name=call.method,
                    turn=None if turn is None else turn.number,
                    started_ns=call.started_ns,
                    ended_ns=event.time_ns,
                    outcome=_COMPLETED_TEXT,
                    injected=call.injected,
                    opens_turn=call.opens_turn,
                )
            )
            return
        kept.steps.append(
            Step(
                kind="call",
                name=call.method,
                turn=_number(call.turn),
                started_ns=call.started_ns,
                ended_ns=event.time_ns,
                outcome=str(call.outcome),
                error=call.error_type or "",
                message=call.error_message[:MAX_ARGUMENTS],
                injected=call.injected,
                opens_turn=call.opens_turn,
            )
        )

    def _tool_ended(self, event: ev.ToolEnded) -> None:
        tool = event.tool
        known = self._for_reports and tool.arguments is not None and not tool.injected
        outcome = tool.outcome
        self._of(event.session).steps.append(
            Step(
                kind="tool",
                name=tool.name,
                turn=_number(tool.turn),
                started_ns=tool.started_ns,
                ended_ns=event.time_ns,
                outcome=_COMPLETED_TEXT if outcome is _COMPLETED else str(outcome),
                timed=not tool.reported,
                error=tool.error_type or "",
                message=tool.error_message[:MAX_ARGUMENTS],
                asked=fingerprint(tool.arguments) if known else "",
                arguments=content(tool.arguments, MAX_ARGUMENTS) if known and self._capture else "",
                injected=tool.injected,
            )
        )

    def _turn_ended(self, event: ev.TurnEnded) -> None:
        turn = event.turn
        self._of(event.session).steps.append(
            Step(
                kind="turn",
                name=turn.method,
                turn=turn.number,
                started_ns=turn.started_ns,
                ended_ns=event.time_ns,
                outcome=str(turn.outcome),
                error=turn.error_type or "",
                message=turn.error_message[:MAX_ARGUMENTS],
                tools=turn.tools,
            )
        )


def _sight(message: InterceptedMessage, payload: bytes) -> _Sight:
    kind = message.type.value
    return message.time_ns, message.direction, kind, message.method, message.size, payload


def _recent(sight: _Sight) -> RecentMessage:
    time_ns, direction, kind, method, size, payload = sight
    text = content(payload.decode("utf-8", "replace"), MAX_ARGUMENTS) if payload else ""
    return RecentMessage(time_ns, direction.value, kind, method or "", size, text)


def _number(turn: Turn | None) -> int | None:
    return None if turn is None else turn.number


def fingerprint(arguments: Any) -> str:
    """Return a short text that is equal for equal arguments; their order does not matter."""
    try:
        text = msgspec.json.encode(arguments, order="deterministic")
    except (TypeError, ValueError, RecursionError):
        return ""
    return f"{hash(text):x}"
