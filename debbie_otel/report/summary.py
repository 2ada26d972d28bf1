"""Totals of what was seen, and the table that shows them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from rich.table import Table

from debbie_otel.detection.alerts import Transition
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.report.metrics import percentile
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.message import MessageType
from debbie_otel.session.model import Call, Outcome

# Module names: in Python 3.11 a member costs 0.1 µs through its enum, and these are the hot path.
_REQUEST, _RESPONSE, _COMPLETED = MessageType.REQUEST, MessageType.RESPONSE, Outcome.COMPLETED
_RECENT = 1000
_MAX_METHODS = 200


class MethodTimes:
    """Response times of one method: the last thousand, milliseconds."""

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.times: deque[float] = deque(maxlen=_RECENT)

    def completed(self, started_ns: int, ended_ns: int) -> None:
        """Add a call that has been completed."""
        self.calls += 1
        self.times.append((ended_ns - started_ns) / 1e6)

    def add(self, call: Call) -> None:
        """Add a call that has ended."""
        self.calls += 1
        self.errors += call.outcome is Outcome.FAILED
        if call.ended_ns is not None and call.outcome in (Outcome.COMPLETED, Outcome.FAILED):
            self.times.append((call.ended_ns - call.started_ns) / 1e6)


class Summary:
    """Counts events: `listen_to` a bus.

    Attributes:
        messages: By type.
        methods: Requests by method, `_OTHER` beyond two hundred.
        tools: Executions by name and outcome.
        alerts: Those that fired, by type.
        interventions: Attempts and what was skipped, by result.

    """

    def __init__(self) -> None:
        self.sessions = 0
        self.turns: Counter[Outcome] = Counter()
        self.messages = dict.fromkeys(MessageType, 0)
        self.methods: dict[str, MethodTimes] = {}
        self.tools: Counter[tuple[str, Outcome]] = Counter()
        self.errors = 0
        self.streams = 0
        self.dialects: set[str] = set()
        self.alerts: Counter[str] = Counter()
        self.interventions: Counter[str] = Counter()
        self._handlers: dict[type[ev.Event], Callable[[Any], None]] = {
            # Every message is in exactly one of these, which are fewer than the messages.
            ev.CallStarted: self._call_started,
            ev.CallEnded: self._call_ended,
            ev.NotificationSeen: self._single,
            ev.StreamAdvanced: self._chunk,
            ev.StraySeen: self._single,
            ev.SessionStarted: self._session_started,
            ev.TurnEnded: self._turn_ended,
            ev.ToolEnded: self._tool_ended,
            ev.StreamEnded: self._stream_ended,
        }

    def listen_to(self, events: EventBus) -> None:
        """Count events from now on."""
        events.subscribe_handlers(self._handlers)
        events.subscribe(self._alert, Transition)
        events.subscribe(self._intervention, InterventionEvent)

    def __call__(self, event: ev.Event) -> None:
        """Count one event."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _alert(self, transition: Transition) -> None:
        if transition.event == "alert":
            self.alerts[transition.alert.alert_type] += 1

    def _intervention(self, event: InterventionEvent) -> None:
        if event.record is not None:
            self.interventions[event.record.result] += 1

    def _call_started(self, _: ev.CallStarted) -> None:
        self.messages[_REQUEST] += 1

    def _call_ended(self, event: ev.CallEnded) -> None:
        call = event.call
        times = self.methods.get(call.method) or self._method(call.method)
        if call.outcome is _COMPLETED and not call.is_rpc_error and call.response_bytes:
            times.completed(call.started_ns, event.time_ns)  # as nearly all
            self.messages[_RESPONSE] += 1
            return
        times.add(call)
        if call.response_bytes:
            self.messages[MessageType.ERROR if call.is_rpc_error else MessageType.RESPONSE] += 1
        self.errors += call.outcome is Outcome.FAILED and not call.injected

    def _single(self, event: ev.NotificationSeen | ev.StraySeen) -> None:
        self.messages[event.message.type] += 1

    def _chunk(self, _: ev.StreamAdvanced) -> None:
        self.messages[MessageType.NOTIFICATION] += 1

    def _session_started(self, event: ev.SessionStarted) -> None:
        self.sessions += 1
        self.dialects.add(event.session.dialect)

    def _turn_ended(self, event: ev.TurnEnded) -> None:
        turn = event.turn
        if turn.outcome is not None:
            self.turns[turn.outcome] += 1
        told = turn.call is not None and turn.call.outcome is turn.outcome
        self.errors += turn.outcome is Outcome.FAILED and not told

    def _tool_ended(self, event: ev.ToolEnded) -> None:
        tool = event.tool
        if tool.outcome is not None:
            self.tools[tool.name, tool.outcome] += 1
        self.errors += tool.outcome is Outcome.FAILED and not tool.is_call

    def _stream_ended(self, _: ev.StreamEnded) -> None:
        self.streams += 1

    def _method(self, name: str) -> MethodTimes:
        times = self.methods.get(name)
        if times is None:
            if len(self.methods) >= _MAX_METHODS:
                name = "_OTHER"
            times = self.methods.setdefault(name, MethodTimes())
        return times

    def tables(self) -> list[Table]:
        """Return what was seen as tables for a console."""
        totals = Table(title="What Debbie saw", title_justify="left")
        totals.add_column("")
        totals.add_column("count", justify="right")
        totals.add_column("of which")
        totals.add_row("sessions", str(self.sessions), ", ".join(sorted(self.dialects)))
        totals.add_row("turns", str(self.turns.total()), _parts(self.turns))
        by_type = Counter({kind: count for kind, count in self.messages.items() if count})
        totals.add_row("messages", str(by_type.total()), _parts(by_type))
        by_outcome: Counter[Outcome] = Counter()
        for (_, outcome), count in self.tools.items():
            by_outcome[outcome] += count
        totals.add_row("tool calls", str(self.tools.total()), _parts(by_outcome))
        totals.add_row("errors", str(self.errors), "")
        totals.add_row("streams", str(self.streams), "")
        if self.alerts:
            totals.add_row("alerts", str(self.alerts.total()), _parts(self.alerts))
        if self.interventions:
            done = self.interventions
            totals.add_row("interventions", str(done.total()), _parts(done))
        return [totals, self._times()]

    def _times(self) -> Table:
        table = Table(title="Response times", title_justify="left")
        table.add_column("method")
        for heading in ("calls", "errors", "p50 ms", "p95 ms", "max ms"):
            table.add_column(heading, justify="right")
        for name, times in sorted(self.methods.items(), key=lambda item: -item[1].calls):
            table.add_row(
                name,
                str(times.calls),
                str(times.errors),
                _ms(percentile(times.times, 50)),
                _ms(percentile(times.times, 95)),
                _ms(max(times.times, default=None)),
            )
        return table


def _parts(counts: Counter[Outcome] | Counter[MessageType] | Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
