"""The public metrics of one service: of what is on the wire, of alerts, and of interventions.

Attributes are bounded: names that come from the wire (methods, tools, agents) are taken up to a
limit each, the rest is `_OTHER`; the methods that a dialect knows always have their place. There
is never a session or request id on a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from debbie_otel import semconv
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.session.events import MessageSeen
from debbie_otel.session.model import Call, SessionInfo, Tool, Turn
from debbie_otel.telemetry.aggregate import (
    Histograms,
    Key,
    KeyToAttributes,
    PassedSeries,
    Series,
    Sums,
    named,
)
from debbie_otel.wire.direction import MessageDirection

_alert_attributes = named(semconv.ALERT_TYPE, semconv.ALERT_SEVERITY)
_intervention_attributes = named(
    semconv.INTERVENTION_STRATEGY,
    semconv.ALERT_TYPE,
    semconv.INTERVENTION_RESULT,
    semconv.INTERVENTION_REASON,
)


class Names:
    """Lets the first `limit` names through besides those known from the start."""

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._names = {name: name for name in known}
        self._room = limit

    def __call__(self, name: str) -> str:
        """Return the name, or `_OTHER`."""
        found = self._names.get(name)
        if found is not None:
            return found
        if self._room <= 0:
            return semconv.OTHER
        self._room -= 1
        name = name[:128]
        self._names[name] = name
        return name


class OpenCalls(msgspec.Struct, frozen=True):
    """Requests that wait for an answer: how many, and the age of the oldest in seconds."""

    count: int = 0
    oldest_age: float = 0.0


class Instruments:
    """Counts and measures what `Recorder` tells.

    Args:
        dialect: Name of the dialect; an attribute of the metrics.
        mcp: Whether calls are measured by MCP's metric names.
        methods: Those that the dialect knows.
        limit: How many names beyond are told apart.
        open_calls: Asked when the metrics are collected, on the collector's thread.

    Attributes:
        sessions_active: Sessions that have started and not ended.
        uninspected: Messages that passed without a look, by reason.

    """

    def __init__(
        self,
        dialect: str,
        *,
        mcp: bool = False,
        methods: Iterable[str] = (),
        limit: int = 64,
        open_calls: Callable[[], OpenCalls] = OpenCalls,
    ) -> None:
        self.sessions_active = 0
        self.uninspected = Sums(named(semconv.UNINSPECTED_REASON))
        self._dialect = dialect
        self._open_calls = open_calls
        self._mcp = mcp
        self._methods = Names(limit, methods)
        self._tools = Names(limit)
        self._agents = Names(limit)
        self._errors = Names(limit)
        self._messages: dict[Key, list[int]] = {}
        # The same sums, and the series of calls without an error, by the names on the wire.
        self._message_sums: dict[Key, list[int]] = {}
        self._answered: dict[tuple[bool, str], Series | PassedSeries] = {}
        self._tool_counts = Sums(named(semconv.GEN_AI_TOOL_NAME, semconv.TOOL_OUTCOME))
        self._tokens = Sums(named(semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_TOKEN_TYPE))
        served, made = (
            (semconv.METRIC_MCP_SERVER_DURATION, semconv.METRIC_MCP_CLIENT_DURATION)
            if mcp
            else (semconv.METRIC_RPC_SERVER_DURATION, semconv.METRIC_RPC_CLIENT_DURATION)
        )
        self._served = _durations(served, "Calls, seen at their server.", self._call_attributes)
        self._made = _durations(made, "Calls, seen at their client.", self._call_attributes)
        self._tool_time = _durations(
            semconv.METRIC_TOOL_DURATION,
            "Executions of tools, where the wire tells their times.",
            named(semconv.GEN_AI_TOOL_NAME, semconv.ERROR_TYPE),
        )
        self._turn_time = _durations(
            semconv.METRIC_TURN_DURATION,
            "Turns of agents.",
            named(semconv.GEN_AI_AGENT_NAME, semconv.TURN_OUTCOME, semconv.ERROR_TYPE),
            semconv.TURN_BUCKETS,
        )
        self._session_time = _durations(
            semconv.METRIC_SESSION_DURATION,
            "Sessions, from start to end.",
            named(semconv.SESSION_END_REASON),
            semconv.SESSION_BUCKETS,
        )

    @property
    def histograms(self) -> list[Histograms]:
        """What a `MetricDelivery` is to collect."""
        return [self._served, self._made, self._tool_time, self._turn_time, self._session_time]

    def register(self, meter: Meter) -> None:
        """Offer the counters and levels to a meter."""
        counter, gauge = meter.create_observable_counter, meter.create_observable_up_down_counter
        counter(semconv.METRIC_MESSAGES, [self._message_counts], "{message}", "Messages seen.")
        counter(
            semconv.METRIC_IO, [self._message_bytes], "By", "Payload of messages, decompressed."
        )
        counter(semconv.METRIC_TOOLS, [self._tool_counts], "{execution}", "Executions of tools.")
        counter(semconv.METRIC_TOKENS, [self._tokens], "{token}", "Tokens that agents reported.")
        counter(
            semconv.METRIC_UNINSPECTED,
            [self.uninspected],
            "{message}",
            "Messages that passed without a look.",
        )
        gauge(
            semconv.METRIC_SESSIONS_ACTIVE,
            [_level(lambda: self.sessions_active)],
            "{session}",
            "Open.",
        )
        gauge(
            semconv.METRIC_CALLS_PENDING,
            [_level(lambda: self._open_calls().count)],
            "{call}",
            "Unanswered.",
        )
        meter.create_observable_gauge(
            semconv.METRIC_OLDEST_PENDING,
            [_level(lambda: self._open_calls().oldest_age)],
            "s",
            "Age of the oldest unanswered call.",
        )

    # -- what happens ------------------------------------------------------------------------

    def message_seen(self, event: MessageSeen) -> None:
        """Count a message and its bytes."""
        message = event.message
        key = (message.direction, message.type, message.method)
        sums = self._message_sums.get(key)
        if sums is None:
            sums = self._sums_of(key)
        sums[0] += 1
        sums[1] += message.size

    def _sums_of(self, key: Key) -> list[int]:
        direction, kind, method = key
        known = method and self._methods(method)
        sums = self._messages.setdefault((direction, kind, known), [0, 0])
        if known == method:  # what has no name of its own would be without bounds
            self._message_sums[key] = sums
        return sums

    def call(self, call: Call, served: bool, trace_id: int = 0, span_id: int = 0) -> None:
        """Measure a call that has ended, as its server or as its client sees it."""
        started = call.started_ns
        ended = call.ended_ns or started
        series = self._answered.get((served, call.method)) if call.error_type is None else None
        if series is None:
            series = self._series_of(call, served)
        series.add((ended - started) / 1e9, trace_id, span_id, ended)

    def _series_of(self, call: Call, served: bool) -> Series | PassedSeries:
        histogram = self._served if served else self._made
        method, error = self._methods(call.method), call.error_type
        key = (method, error and self._errors(error), call.error_code is None)
        series = histogram.series(key)
        if error is None and call.error_code is None and method == call.method:
            self._answered[served, method] = series
        return series

    def tool(self, tool: Tool, trace_id: int = 0, span_id: int = 0) -> None:
        """Count an execution that has ended; measure it where its times are known."""
        name, outcome = self._tools(tool.name), tool.outcome
        self._tool_counts.add((name, outcome))
        if not tool.reported:
            ended = tool.ended_ns or tool.started_ns
            seconds = (ended - tool.started_ns) / 1e9
            error = tool.error_type and self._errors(tool.error_type)
            self._tool_time.record((name, error), seconds, trace_id, span_id, ended)

    def turn(self, turn: Turn, trace_id: int = 0, span_id: int = 0) -> None:
        """Measure a turn that has ended."""
        ended = turn.ended_ns or turn.started_ns
        self._turn_time.record(
            (
                self._agents(turn.session.agent),
                turn.outcome,
                turn.error_type and self._errors(turn.error_type),
            ),
            (ended - turn.started_ns) / 1e9,
            trace_id,
            span_id,
            ended,
        )

    def session(self, session: SessionInfo, reason: str) -> None:
        """Measure a session that has ended."""
        started = session.started_ns or 0
        ended = started if session.ended_ns is None else session.ended_ns
        self._session_time.record((reason,), (ended - started) / 1e9)

    def tokens(self, agent: str, input_tokens: int, output_tokens: int) -> None:
        """Count tokens."""
        name = self._agents(agent)
        self._tokens.add((name, "input"), input_tokens)
        self._tokens.add((name, "output"), output_tokens)

    # -- what is collected -------------------------------------------------------------------

    def _message_counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(
                sums[0],
                _without_none(
                    {
                        semconv.MESSAGE_DIRECTION: key[0].value,
                        semconv.MESSAGE_TYPE: key[1].value,
                        semconv.RPC_METHOD: key[2],
                        semconv.DIALECT: self._dialect,
                    }
                ),
            )
            for key, sums in list(self._messages.items())
        ]

    def _message_bytes(self, _: CallbackOptions) -> Iterable[Observation]:
        totals = dict.fromkeys(MessageDirection, 0)
        for key, sums in list(self._messages.items()):
            totals[key[0]] += sums[1]
        return [
            Observation(
                total, {semconv.MESSAGE_DIRECTION: direction.value, semconv.DIALECT: self._dialect}
            )
            for direction, total in totals.items()
        ]

    def _call_attributes(self, key: Key) -> dict[str, str]:
        method, error_type, codeless = key
        attributes = {
            semconv.MCP_METHOD_NAME if self._mcp else semconv.RPC_METHOD: method,
            semconv.RPC_SYSTEM_NAME: "jsonrpc",
            semconv.ERROR_TYPE: error_type,
            semconv.RPC_RESPONSE_STATUS_CODE: None if codeless else error_type,
        }
        return _without_none(attributes)


class AlertInstruments:
    """Counts alerts, and counts and measures interventions.

    Args:
        limit: How many names of tools, strategies and alert types are told apart.

    """

    def __init__(self, limit: int = 64) -> None:
        self._tools = Names(limit)
        self._strategies = Names(limit)
        self._alert_types = Names(limit)
        self._alerts = Sums(_alert_attributes)
        self._alerts_active = Sums(_alert_attributes)
        self._tool_loops = Sums(named(semconv.GEN_AI_TOOL_NAME))
        self._interventions = Sums(_intervention_attributes)
        self._intervention_time = Histograms(
            semconv.METRIC_INTERVENTION_DURATION,
            "s",
            "Interventions, from the attempt to its outcome.",
            _intervention_attributes,
        )
        self._recovery_time = Histograms(
            semconv.METRIC_RECOVERY_TIME,
            "s",
            "From an alert to the agent's first move after an intervention that helped.",
            _intervention_attributes,
            semconv.TURN_BUCKETS,
        )

    @property
    def histograms(self) -> list[Histograms]:
        """What a `MetricDelivery` is to collect."""
        return [self._intervention_time, self._recovery_time]

    def register(self, meter: Meter) -> None:
        """Offer the counters and levels to a meter."""
        counter, gauge = meter.create_observable_counter, meter.create_observable_up_down_counter
        counter(semconv.METRIC_ALERTS, [self._alerts], "{alert}", "Alerts that fired.")
        gauge(semconv.METRIC_ALERTS_ACTIVE, [self._alerts_active], "{alert}", "Not resolved yet.")
        counter(
            semconv.METRIC_TOOL_LOOPS, [self._tool_loops], "{loop}", "Loops that alerts fired for."
        )
        counter(
            semconv.METRIC_INTERVENTIONS,
            [self._interventions],
            "{intervention}",
            "Attempts to help, and what came of them.",
        )

    def alert(self, alert_type: str, severity: str, event: Literal["alert", "resolved"]) -> None:
        """Count an alert that fired, or that is over."""
        key = (alert_type, severity)
        if event == "alert":
            self._alerts.add(key)
        self._alerts_active.add(key, 1 if event == "alert" else -1)

    def tool_loop(self, tool: str) -> None:
        """Count a loop by what repeats in it."""
        self._tool_loops.add((self._tools(tool),))

    def intervention(self, record: InterventionRecord, trace_id: int = 0, span_id: int = 0) -> None:
        """Count an attempt that has its outcome, and measure it unless nothing was done."""
        strategy = self._strategies(record.strategy)
        alert_type = self._alert_types(record.alert_type)
        result, ended = record.result, record.ended_ns
        self._interventions.add((strategy, alert_type, result, record.reason or None))
        if result != "skipped":
            key = (strategy, alert_type, result, None)
            self._intervention_time.record(key, record.duration, trace_id, span_id, ended)
        if record.recovery_seconds is not None:
            recovered = (strategy, alert_type, None, None)
            self._recovery_time.record(recovered, record.recovery_seconds, trace_id, span_id, ended)


def _without_none(attributes: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in attributes.items() if value is not None}


def _level(read: Callable[[], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read())]


def _durations(
    name: str,
    description: str,
    attributes: KeyToAttributes,
    bounds: tuple[float, ...] = semconv.DURATION_BUCKETS,
) -> Histograms:
    return Histograms(name, "s", description, attributes, bounds)
