"""Where in the traces something belongs that happened in a session beside its messages."""

from __future__ import annotations

from opentelemetry.trace import SpanContext

from debbie_otel.session.session import Session
from debbie_otel.telemetry.recorder import SessionTrace
from debbie_otel.telemetry.spans import OpenSpan


def place_of(session: Session | None) -> tuple[OpenSpan | None, SpanContext | None]:
    """Return the open turn's span, and whose child it is: the turn's, the last one's, the start's.

    Both are None where nothing of the session is in a trace.
    """
    if session is None:
        return None, None
    turn = session.turn()
    handle = None if turn is None else turn.handle
    if isinstance(handle, OpenSpan):
        return handle, handle.context
    trace = session.info.handle
    return None, (trace.last_turn or trace.start) if isinstance(trace, SessionTrace) else None
