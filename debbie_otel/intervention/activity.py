"""What sessions did of late: calls, tools and turns that ended, with durations and errors.

Kept for those who are told of a session when something is wrong with it: scripts and people. Only
names, times and outcomes are kept, no content. Pure; times come with the events.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from debbie_otel.session import events as ev
from debbie_otel.session.model import Call, Outcome, SessionInfo, Tool, Turn

EVENTS = (ev.CallEnded, ev.ToolEnded, ev.TurnEnded, ev.SessionEnded)
"""What `RecentActivity` needs to hear of."""

_COMPLETED = Outcome.COMPLETED  # in Python 3.11 a member costs 0.1 µs through its enum
_COMPLETED_TEXT = str(_COMPLETED)
MAX_ITEMS = 40
"""Items that are kept of a session."""


class PastItem(msgspec.Struct, frozen=True, gc=False):
    """A call, a tool or a turn that has ended.

    Attributes:
        kind: `call`, `tool` or `turn`.
        name: Method, tool, or the method that opened the turn.
        ended_ns: Nanoseconds since the epoch.
        duration_ns: None where the wire does not tell (tools that are reported afterwards).
        outcome: `Outcome`.
        error: `error.type`; None without one.

    """

    kind: str
    name: str
    ended_ns: int
    duration_ns: int | None
    outcome: str
    error: str | None = None


class RecentActivity:
    """The last items of each live session.

    Args:
        sessions: How many sessions are remembered at most; beyond, the one seen first is forgotten.

    """

    def __init__(self, sessions: int = 10_000) -> None:
        self._limit = sessions
        self._past: dict[SessionInfo, deque[PastItem]] = {}

    def __len__(self) -> int:
        return len(self._past)

    def observe(self, event: ev.Event) -> None:
        """Take in an event."""
        if type(event) is ev.CallEnded:
            call = event.call
            if call.tool is None and not call.opens_turn:  # else the tool or the turn says it
                past = self._past.get(event.session)
                if past is not None and call.outcome is _COMPLETED:  # as nearly all
                    ended = event.time_ns
                    took = ended - call.started_ns
                    past.append(PastItem("call", call.method, ended, took, _COMPLETED_TEXT))
                else:
                    self._add(event.session, _item("call", call.method, call))
        elif type(event) is ev.ToolEnded:
            self._add(event.session, _item("tool", event.tool.name, event.tool))
        elif type(event) is ev.TurnEnded:
            self._add(event.session, _item("turn", event.turn.method, event.turn))
        elif type(event) is ev.SessionEnded:
            self._past.pop(event.session, None)

    def recent(self, session: SessionInfo) -> tuple[PastItem, ...]:
        """Return what a session did, the oldest first."""
        return tuple(self._past.get(session, ()))

    def _add(self, session: SessionInfo, item: PastItem) -> None:
        if session.ended_ns is not None:  # what a connection cuts off as it closes
            return
        past = self._past.get(session)
        if past is None:
            if len(self._past) >= self._limit:
                del self._past[next(iter(self._past))]
            past = self._past[session] = deque(maxlen=MAX_ITEMS)
        past.append(item)


def _item(kind: str, name: str, thing: Call | Tool | Turn) -> PastItem:
    ended: Any = thing.ended_ns  # set, as it has ended
    timeless = isinstance(thing, Tool) and thing.reported
    duration = None if timeless else ended - thing.started_ns
    outcome = thing.outcome or Outcome.COMPLETED
    error = thing.error_type
    if error is None and outcome is Outcome.FAILED:
        error = "error"
    return PastItem(kind, name, ended, duration, str(outcome), error)
