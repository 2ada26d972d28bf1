"""Console commentary: one line an event."""

from __future__ import annotations

from collections.abc import Callable

from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.loops import LoopFinding
from debbie_otel.intervention.records import InterventionResult
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.model import Outcome

PREFIX = "[DEBBIE]"


def comment(event: ev.Event) -> str | None:
    """Return the line for an event; None where it is not worth one."""
    text = _text(event)
    return None if text is None else f"{PREFIX} {_printable(text)}"


EVENTS: tuple[type[ev.Event], ...] = (
    ev.SessionStarted,
    ev.SessionEnded,
    ev.ToolEnded,
    ev.TurnEnded,
    ev.CallEnded,
    ev.ErrorReported,
)
"""What is commented on."""


def comment_on(events: EventBus, write: Callable[[str], None]) -> None:
    """Write a line for each event that is worth one."""
    events.subscribe(commentator(write), *EVENTS)
    events.subscribe(lambda transition: write(comment_alert(transition)), Transition)
    events.subscribe(_intervention_commentator(write), InterventionEvent)
    events.subscribe(lambda finding: write(comment_warning(finding)), LoopFinding)


def commentator(write: Callable[[str], None]) -> Callable[[ev.Event], None]:
    """Return a subscriber that writes the line of each event."""

    def subscriber(event: ev.Event) -> None:
        if type(event) is ev.CallEnded and event.call.outcome is Outcome.COMPLETED:
            return  # by far the most frequent, and never worth a line
        line = comment(event)
        if line is not None:
            write(line)

    return subscriber


def comment_alert(transition: Transition) -> str:
    """Return the line for an alert."""
    alert = transition.alert
    if transition.event == "alert":
        return f"{PREFIX} ⚠️ Anomaly detected: {_printable(alert.message)}"
    took = _duration(transition.time_ns - alert.fired_ns)
    return f"{PREFIX} Anomaly resolved: {alert.alert_type} after {took}"


def comment_intervention(event: InterventionEvent) -> str | None:
    """Return the line for a step of an intervention; None where it is not worth one."""
    record = event.record
    if event.phase == "triggered":
        return f"{PREFIX} Intervention triggered: {event.strategy.upper()}"
    if record is None:
        return None
    detail = _printable(record.detail)
    match record.result:
        case InterventionResult.SUCCESS:
            return f"{PREFIX} ✅ Intervention successful - agent resumed ({detail})"
        case InterventionResult.ESCALATED:
            return f"{PREFIX} 📣 Escalated: {detail}"
        case InterventionResult.PARTIAL_SUCCESS:
            return f"{PREFIX} 🔎 {detail}"
        case InterventionResult.SKIPPED:
            why = f"{record.reason}: {detail}" if record.reason else detail
            return f"{PREFIX} Intervention skipped: {event.strategy.upper()} ({why})"
    return f"{PREFIX} ❌ Intervention failed: {event.strategy.upper()} ({detail})"


def _intervention_commentator(
    write: Callable[[str], None],
) -> Callable[[InterventionEvent], None]:
    def subscriber(event: InterventionEvent) -> None:
        line = comment_intervention(event)
        if line is not None:
            write(line)

    return subscriber


def comment_warning(finding: LoopFinding) -> str:
    """Return the line for a loop that is not yet an alert."""
    return f"{PREFIX} Watching: {_printable(finding.message)}"


def _text(event: ev.Event) -> str | None:
    match event:
        case ev.SessionStarted(session=session):
            return f"Session {'resumed' if session.resumed else 'started'}: {session.id}"
        case ev.SessionEnded(session=session, reason=reason):
            return (
                f"Session ended: {session.id} ({reason}; {_count(session.turns, 'turn')}, "
                f"{_count(session.tools, 'tool call')}, {_count(session.errors, 'error')})"
            )
        case ev.ToolEnded(tool=tool):
            how = "reported" if tool.reported else _duration(event.time_ns - tool.started_ns)
            failed = "" if tool.outcome is Outcome.COMPLETED else f" - {tool.outcome}"
            return f"Tool execution: {tool.name} (duration: {how}){failed}"
        case ev.TurnEnded(turn=turn) if turn.outcome is not Outcome.COMPLETED:
            why = turn.error_message or turn.error_type or turn.stop_reason or ""
            return f"Turn {turn.number} {turn.outcome}" + (f": {why}" if why else "")
        case ev.TurnEnded(turn=turn):
            return f"Turn {turn.number} completed in {_duration(event.time_ns - turn.started_ns)}"
        case ev.CallEnded(call=call) if call.outcome is Outcome.FAILED and not call.opens_turn:
            what = call.method if call.tool is None else f"{call.method} {call.tool.name}"
            return f"Error: {what} failed: {call.error_message or call.error_type}"
        case ev.ErrorReported():
            retry = " (the agent tries again)" if event.will_retry else ""
            return f"Error reported: {event.message or event.error_type}{retry}"
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _duration(ns: int) -> str:
    return f"{ns / 1e6:.0f}ms" if ns < 10**9 else f"{ns / 1e9:.1f}s"


def _printable(text: str) -> str:
    """Keep what comes from the wire from moving the cursor, and short."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= 240 else text[:239] + "…"
