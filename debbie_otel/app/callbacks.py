"""MonitoringEvent and its handlers: events as dictionaries, for programs.

`monitor.subscribe` gives the typed events of sessions; these are fewer, each with a small
dictionary that does not change with them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from debbie_otel.detection.alerts import Transition
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus, Unsubscribe
from debbie_otel.session.model import Outcome
from debbie_otel.wire.direction import MessageDirection

Handler = Callable[[dict[str, Any]], Awaitable[None] | None]


class MonitoringEvent(Enum):
    """What a program can be told of."""

    SESSION_START = "session_start"
    SESSION_END = "session_end"
    MESSAGE_SENT = "message_sent"
    """A message of the client."""
    MESSAGE_RECEIVED = "message_received"
    """A message of the server."""
    TOOL_EXECUTION_START = "tool_execution_start"
    TOOL_EXECUTION_END = "tool_execution_end"
    AGENT_STALL_DETECTED = "agent_stall_detected"
    PERFORMANCE_DEGRADATION = "performance_degradation"
    ERROR_DETECTED = "error_detected"
    ANOMALY_DETECTED = "anomaly_detected"
    ANOMALY_RESOLVED = "anomaly_resolved"
    INTERVENTION_TRIGGERED = "intervention_triggered"
    INTERVENTION_COMPLETED = "intervention_completed"
    """With its result; also one that was skipped, which was never triggered."""


_PHASES = {
    MonitoringEvent.INTERVENTION_TRIGGERED: "triggered",
    MonitoringEvent.INTERVENTION_COMPLETED: "ended",
}
_ALERT_TYPES = {
    MonitoringEvent.AGENT_STALL_DETECTED: {"session_stall", "request_timeout"},
    MonitoringEvent.PERFORMANCE_DEGRADATION: {"slow_response", "memory_spike"},
}


def register(
    events: EventBus,
    event: MonitoringEvent,
    handler: Handler,
    guard: FailOpen,
    loop: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None,
) -> Unsubscribe:
    """Call `handler` for each event of a kind; return what ends that.

    A handler may be a coroutine function. It then runs as a task of the loop that runs on the
    thread of the event; where none does (threads, trio), of the loop on which it was registered,
    or else of `loop`, Debbie's own.
    """
    place = "a monitoring handler"
    tasks: set[asyncio.Future[None]] = set()
    registered_on = _running_loop()

    def call(data: dict[str, Any]) -> None:
        result = handler({"event": event.value, **data})
        if result is None:
            return
        here = _running_loop()
        if here is not None:
            start(result)
            return
        for there in (registered_on, loop()):
            if there is not None and there.is_running():
                there.call_soon_threadsafe(start, result)
                return
        if inspect.iscoroutine(result):
            result.close()
        text = f"the asynchronous handler of {event.value} has no event loop to run on"
        guard.tell(text, f"{text}: start Debbie, or register it on a loop")

    def start(result: Awaitable[None]) -> None:
        task = asyncio.ensure_future(result)  # noqa: TID251 - kept in the set
        tasks.add(task)
        task.add_done_callback(done)

    def done(task: asyncio.Future[None]) -> None:
        tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            guard.failed(place, error)

    if event in _ALERT_TYPES or event in (
        MonitoringEvent.ANOMALY_DETECTED,
        MonitoringEvent.ANOMALY_RESOLVED,
    ):
        return events.subscribe(_alerts(event, call), Transition, place=place)
    if event in _PHASES:
        told = _interventions(_PHASES[event], call)
        return events.subscribe(told, InterventionEvent, place=place)
    kind, describe = _SOURCES[event]

    def subscriber(seen: ev.Event) -> None:
        data = describe(seen)
        if data is not None:
            call({"session_id": seen.session.id, "time_ns": seen.time_ns, **data})

    return events.subscribe(subscriber, kind, place=place)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _alerts(
    event: MonitoringEvent, call: Callable[[dict[str, Any]], None]
) -> Callable[[Transition], None]:
    wanted = "resolved" if event is MonitoringEvent.ANOMALY_RESOLVED else "alert"
    types = _ALERT_TYPES.get(event)

    def subscriber(transition: Transition) -> None:
        alert = transition.alert
        if transition.event == wanted and (types is None or alert.alert_type in types):
            call(
                {
                    "session_id": alert.session_id,
                    "time_ns": transition.time_ns,
                    "alert": alert,
                    "alert_type": alert.alert_type,
                    "severity": alert.severity,
                    "message": alert.message,
                    "details": alert.details,
                }
            )

    return subscriber


def _interventions(
    phase: str, call: Callable[[dict[str, Any]], None]
) -> Callable[[InterventionEvent], None]:
    def subscriber(seen: InterventionEvent) -> None:
        if seen.phase != phase:
            return
        record = seen.record
        data: dict[str, Any] = {
            "session_id": seen.alert.session_id,
            "time_ns": seen.time_ns,
            "strategy": seen.strategy,
            "attempt": seen.attempt,
            "alert_type": seen.alert.alert_type,
        }
        if record is not None:
            data |= {"result": record.result, "reason": record.reason, "detail": record.detail}
        call(data)

    return subscriber


def _message(direction: MessageDirection) -> Callable[[Any], dict[str, Any] | None]:
    def describe(event: ev.MessageSeen) -> dict[str, Any] | None:
        message = event.message
        if message.direction is not direction:
            return None
        return {"message_type": message.type.value, "method": message.method, "size": message.size}

    return describe


def _tool_end(event: ev.ToolEnded) -> dict[str, Any]:
    tool = event.tool
    duration = None if tool.reported else (event.time_ns - tool.started_ns) / 1e6
    return {"tool_name": tool.name, "outcome": str(tool.outcome), "duration_ms": duration}


def _error(event: ev.CallEnded) -> dict[str, Any] | None:
    call = event.call
    if call.outcome is not Outcome.FAILED:
        return None
    return {"method": call.method, "error_type": call.error_type, "message": call.error_message}


_SOURCES: dict[MonitoringEvent, tuple[type[ev.Event], Callable[[Any], dict[str, Any] | None]]] = {
    MonitoringEvent.SESSION_START: (ev.SessionStarted, lambda _: {}),
    MonitoringEvent.SESSION_END: (ev.SessionEnded, lambda event: {"reason": event.reason}),
    MonitoringEvent.MESSAGE_SENT: (ev.MessageSeen, _message(MessageDirection.CLIENT_TO_SERVER)),
    MonitoringEvent.MESSAGE_RECEIVED: (ev.MessageSeen, _message(MessageDirection.SERVER_TO_CLIENT)),
    MonitoringEvent.TOOL_EXECUTION_START: (
        ev.ToolStarted,
        lambda event: {"tool_name": event.tool.name},
    ),
    MonitoringEvent.TOOL_EXECUTION_END: (ev.ToolEnded, _tool_end),
    MonitoringEvent.ERROR_DETECTED: (ev.CallEnded, _error),
}
