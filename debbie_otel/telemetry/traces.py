"""The spans of what is under way, and the traces of sessions: what telemetry keeps of the core's.

All recorders share it: a session may be seen on several connections, and its dialect recognised
when spans have begun.
"""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

import msgspec
from opentelemetry.trace import SpanContext

from debbie_otel.session.model import Call, SessionInfo, Turn
from debbie_otel.session.session import Session
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.spans import OpenSpan

_Of = TypeVar("_Of")
_Kept = TypeVar("_Kept")


class Companions(Generic[_Of, _Kept]):
    """A value for an object, as long as the object lives; by identity, at the cost of a dict's.

    Attributes:
        entries: By the id of the object.

    """

    def __init__(self) -> None:
        self.entries: dict[int, tuple[weakref.ref[_Of], _Kept]] = {}

    def get(self, of: _Of) -> _Kept | None:
        """Return the value of an object."""
        entry = self.entries.get(id(of))
        return None if entry is None else entry[1]

    def set(self, of: _Of, value: _Kept) -> None:
        """Set the value of an object."""
        key, entries = id(of), self.entries
        entries[key] = (weakref.ref(of, lambda _: entries.pop(key, None)), value)


class SessionTrace(msgspec.Struct):
    """What later spans of a session link to, and where it was counted as active.

    Its end may come by another recorder than its start did.
    """

    start: SpanContext
    counted: Instruments
    last_turn: SpanContext | None = None


class Traces:
    """Spans by what they are of.

    Attributes:
        sessions: Where a session began.
        turns: The span of a turn, from its start on.
        calls: The span of a request that has children, from the first one on.

    """

    def __init__(self) -> None:
        self.sessions: Companions[SessionInfo, SessionTrace] = Companions()
        self.turns: Companions[Turn, OpenSpan] = Companions()
        self.calls: Companions[Call, OpenSpan] = Companions()

    def place_of(self, session: Session | None) -> tuple[OpenSpan | None, SpanContext | None]:
        """Return the open turn's span, and the parent of what happens beside the messages.

        That is the turn, else the last one, else the session's start. Both are None where nothing
        of the session is in a trace.
        """
        if session is None:
            return None, None
        turn = session.turn()
        span = None if turn is None else self.turns.get(turn)
        if span is not None:
            return span, span.context
        trace = self.sessions.get(session.info)
        return None, None if trace is None else trace.last_turn or trace.start

    def injected_turn(self, session: Session | None, since_ns: int) -> SpanContext | None:
        """Return the turn that Debbie opened, which may have ended already."""
        if session is None:
            return None
        for turn in (*reversed(session.open_turns), *reversed(session.past)):
            if turn.call is not None and turn.call.injected and turn.started_ns >= since_ns:
                span = self.turns.get(turn)
                return None if span is None else span.context
        return None
