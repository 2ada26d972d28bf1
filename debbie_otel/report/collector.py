"""SessionCollector: keeps the last steps of each session while they happen, for a report.

Only where a program may ask for one. It listens to ends of calls, tools and turns, and (unless
`messages` is 0) puts each message into a bounded queue; the work is done when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.report.facts import OpenStep, RecentMessage, SeenAlert, SessionFacts, Step
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.live_connections import LiveConnections
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import Call, SessionInfo, Tool, Turn
from debbie_otel.session.redact import content
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

MAX_STEPS = 400
MAX_ALERTS = 50
MAX_ARGUMENTS = 200
"""Characters of arguments and of messages that are told where content is captured."""

_MAX_PAYLOAD = 4096
"""Bytes up to which a message's content is kept for the telling."""

_Sight = tuple[int, MessageDirection, str, str | None, int, bytes]


class _Seen:
    """What is kept of a session beside what its model holds."""

    def __init__(self, info: SessionInfo, messages: int) -> None:
        self.info = info
        self.steps: deque[Step] = deque(maxlen=MAX_STEPS)
        self.alerts: deque[AnomalyAlert] = deque(maxlen=MAX_ALERTS)
        self.messages: deque[_Sight] = deque(maxlen=messages)
        self.tokens = [0, 0]
        self.end_reason = ""


class SessionCollector:
    """Collects what a report tells of sessions, also of those that have ended.

    Args:
        events: Of whose sessions.
        live: Those that are alive.
        messages: How many of the last messages of a session are kept; 0 for none.
        capture_content: Whether arguments and messages may be told.
        sessions: Sessions that are kept; beyond, the one seen first is forgotten.

    """

    def __init__(
        self,
        events: EventBus,
        live: LiveConnections,
        *,
        messages: int = 50,
        capture_content: bool = False,
        sessions: int = 1000,
    ) -> None:
        self._live = live
        self._messages = messages
        self._capture = capture_content
        self._limit = sessions
        self._seen: dict[SessionInfo, _Seen] = {}
        handlers: dict[type[ev.Event], Callable[[Any], None]] = {
            ev.CallEnded: self._call_ended,
            ev.ToolEnded: self._tool_ended,
            ev.TurnEnded: self._turn_ended,
            ev.UsageReported: self._usage,
            ev.SessionStarted: self._session_started,
            ev.SessionEnded: self._session_ended,
        }
        if messages:
            handlers[ev.MessageSeen] = self._message
        events.subscribe_handlers(handlers)
        events.subscribe(self._alert, Transition)

    # -- asked -------------------------------------------------------------------------------

    def session_ids(self) -> list[str]:
        """Return the ids of the sessions that are known, in the order of their first message."""
        return list(dict.fromkeys(info.id for info in self._seen))

    def facts(self, session_id: str) -> SessionFacts | None:
        """Return what is known of a session; None if that is nothing."""
        matching = [seen for seen in self._seen.values() if seen.info.id == session_id]
        if not matching:
            return None
        seen, info = matching[-1], matching[-1].info
        session = self._live.session(session_id)
        return SessionFacts(
            session_id=info.id,
            dialect=info.dialect,
            agent=info.agent,
            live=session is not None and session.live,
            started_ns=info.started_ns,
            ended_ns=info.ended_ns,
            end_reason=seen.end_reason,
            last_ns=info.last_ns,
            turns=info.turns,
            calls=info.calls,
            tools=info.tools,
            errors=info.errors,
            messages=info.messages,
            input_tokens=seen.tokens[0],
            output_tokens=seen.tokens[1],
            steps=tuple(seen.steps),
            open=() if session is None else self._open(session),
            alerts=tuple(map(seen_alert, seen.alerts)),
            recent=tuple(map(_recent, seen.messages)),
        )

    def _open(self, session: Session) -> tuple[OpenStep, ...]:
        turns = [OpenStep("turn", turn.method, turn.started_ns) for turn in session.open_turns]
        tools = [OpenStep("tool", tool.name, tool.started_ns) for tool in session.open_tools]
        calls = [
            OpenStep("call", call.method, call.started_ns, call.waits_for_user)
            for call in self._live.calls_of(session)
            if not call.opens_turn and call.tool is None
        ]
        return (*turns, *tools, *calls)

    # -- told --------------------------------------------------------------------------------

    def _of(self, info: SessionInfo) -> _Seen:
        seen = self._seen.get(info)
        if seen is None:
            if len(self._seen) >= self._limit:
                del self._seen[next(iter(self._seen))]
            seen = self._seen[info] = _Seen(info, self._messages)
        return seen

    def _message(self, event: ev.MessageSeen) -> None:
        message = event.message
        keep = self._capture and message.size <= _MAX_PAYLOAD
        self._of(event.session).messages.append(_sight(message, message.payload if keep else b""))

    def _session_started(self, event: ev.SessionStarted) -> None:
        self._of(event.session).end_reason = ""

    def _session_ended(self, event: ev.SessionEnded) -> None:
        self._of(event.session).end_reason = event.reason

    def _usage(self, event: ev.UsageReported) -> None:
        tokens = self._of(event.session).tokens
        tokens[0] += event.input_tokens
        tokens[1] += event.output_tokens

    def _call_ended(self, event: ev.CallEnded) -> None:
        call = event.call
        if call.tool is not None or call.injected:
            return  # the tool tells it; and what we asked ourselves is not the session's doing
        step = _step(event.time_ns, call, kind="call", name=call.method, turn=_number(call.turn))
        self._of(event.session).steps.append(step)

    def _tool_ended(self, event: ev.ToolEnded) -> None:
        tool = event.tool
        if tool.injected:
            return  # a repetition of ours
        captured = self._capture and tool.arguments is not None
        step = _step(
            event.time_ns,
            tool,
            kind="tool",
            name=tool.name,
            turn=_number(tool.turn),
            timed=not tool.reported,
            asked="" if tool.arguments is None else fingerprint(tool.arguments),
            arguments=content(tool.arguments, MAX_ARGUMENTS) if captured else "",
        )
        self._of(event.session).steps.append(step)

    def _turn_ended(self, event: ev.TurnEnded) -> None:
        turn = event.turn
        name, number, tools = turn.method, turn.number, turn.tools
        step = _step(event.time_ns, turn, kind="turn", name=name, turn=number, tools=tools)
        self._of(event.session).steps.append(step)

    def _alert(self, transition: Transition) -> None:
        if transition.event != "alert":
            return  # the alert itself knows when it was resolved
        session_id = transition.alert.session_id
        for seen in reversed(self._seen.values()):
            if seen.info.id == session_id:
                seen.alerts.append(transition.alert)
                return


def seen_alert(alert: AnomalyAlert) -> SeenAlert:
    """Return what a report tells of an alert."""
    return SeenAlert(
        alert_type=alert.alert_type,
        severity=alert.severity,
        message=alert.message,
        subject=alert.subject or str(alert.details.get("subject", "")),
        fired_ns=alert.fired_ns,
        resolved_ns=alert.resolved_ns,
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


def _step(ended_ns: int, thing: Call | Tool | Turn, **more: Any) -> Step:
    return Step(
        started_ns=thing.started_ns,
        ended_ns=ended_ns,
        outcome=str(thing.outcome),
        error=thing.error_type or "",
        message=thing.error_message[:MAX_ARGUMENTS],
        **more,
    )


def fingerprint(arguments: Any) -> str:
    """Return a short text that is equal for equal arguments; their order does not matter."""
    try:
        text = msgspec.json.encode(arguments, order="deterministic")
    except (TypeError, ValueError, RecursionError):
        return ""
    return f"{hash(text):x}"
