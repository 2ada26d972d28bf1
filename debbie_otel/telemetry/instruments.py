"""The public metrics of one service.

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
from debbie_otel.core.message import InterceptedMessage, MessageDirection
from debbie_otel.core.model import Call, SessionInfo, Tool, Turn
from debbie_otel.telemetry.aggregate import Histograms, Key, Sums

_SERVER = MessageDirection.CLIENT_TO_SERVER


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
        self.uninspected = Sums(lambda key: {semconv.UNINSPECTED_REASON: key[0]})
        self._dialect = dialect
        self._open_calls = open_calls
        self._mcp = mcp
        self._methods = Names(limit, methods)
        self._tools = Names(limit)
        self._agents = Names(limit)
        self._errors = Names(limit)
        self._messages: dict[Key, list[int]] = {}
        self._alerts = Sums(_alert_attributes)
        self._alerts_active = Sums(_alert_attributes)
        self._tool_counts = Sums(
            lambda key: {semconv.GEN_AI_TOOL_NAME: key[0], semconv.TOOL_OUTCOME: key[1]}
        )
        self._tokens = Sums(
            lambda key: {semconv.GEN_AI_AGENT_NAME: key[0], semconv.GEN_AI_TOKEN_TYPE: key[1]}
        )
        served, made = (
            (semconv.METRIC_MCP_SERVER_DURATION, semconv.METRIC_MCP_CLIENT_DURATION)
            if mcp
            else (semconv.METRIC_RPC_SERVER_DURATION, semconv.METRIC_RPC_CLIENT_DURATION)
        )
        self._served = self._histogram(served, "Calls by the client.", self._call_attributes)
        self._made = self._histogram(made, "Calls by the server.", self._call_attributes)
        self._tool_time = self._histogram(
            semconv.METRIC_TOOL_DURATION,
            "Executions of tools, where the wire tells their times.",
            lambda key: _without_none(
                {semconv.GEN_AI_TOOL_NAME: key[0], semconv.ERROR_TYPE: key[1]}
            ),
        )
        self._turn_time = self._histogram(
            semconv.METRIC_TURN_DURATION,
            "Turns of agents.",
            lambda key: _without_none(
                {
                    semconv.GEN_AI_AGENT_NAME: key[0],
                    semconv.TURN_OUTCOME: key[1],
                    semconv.ERROR_TYPE: key[2],
                }
            ),
        )
        self._session_time = self._histogram(
            semconv.METRIC_SESSION_DURATION,
            "Sessions, from start to end.",
            lambda key: {semconv.SESSION_END_REASON: key[0]},
        )

    @property
    def histograms(self) -> list[Histograms]:
        """What a `MergingReader` is to collect."""
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
        counter(semconv.METRIC_ALERTS, [self._alerts], "{alert}", "Alerts that fired.")
        gauge(semconv.METRIC_ALERTS_ACTIVE, [self._alerts_active], "{alert}", "Not resolved yet.")
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

    def message(self, message: InterceptedMessage) -> None:
        """Count a message and its bytes."""
        method = message.method
        key = (message.direction, message.type, method and self._methods(method))
        try:
            sums = self._messages[key]
        except KeyError:
            sums = self._messages[key] = [0, 0]
        sums[0] += 1
        sums[1] += message.size

    def call(self, call: Call, trace_id: int = 0, span_id: int = 0) -> None:
        """Measure a call that has ended."""
        ended = call.ended_ns or call.started_ns
        histogram = self._served if call.direction is _SERVER else self._made
        error = call.error_type
        histogram.record(
            (self._methods(call.method), error and self._errors(error), call.error_code is None),
            (ended - call.started_ns) / 1e9,
            trace_id,
            span_id,
            ended,
        )

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

    def alert(self, alert_type: str, severity: str, event: Literal["alert", "resolved"]) -> None:
        """Count an alert that fired, or that is over."""
        key = (alert_type, severity)
        if event == "alert":
            self._alerts.add(key)
        self._alerts_active.add(key, 1 if event == "alert" else -1)

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

    @staticmethod
    def _histogram(
        name: str, description: str, attributes: Callable[[Key], dict[str, str]]
    ) -> Histograms:
        return Histograms(name, "s", description, attributes)


def _alert_attributes(key: Key) -> dict[str, str]:
    return {semconv.ALERT_TYPE: key[0], semconv.ALERT_SEVERITY: key[1]}


def _without_none(attributes: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in attributes.items() if value is not None}


def _level(read: Callable[[], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read())]
