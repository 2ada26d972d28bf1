"""Debbie's metrics as Prometheus names them, and the expressions that panels and rules are made of.

Names follow the translation of OpenTelemetry's compatibility specification for Prometheus, which
the collector's exporters apply: dots become underscores, then the unit, then `_total` for counters.
"""

from __future__ import annotations

from typing import Final

from debbie_otel import semconv
from debbie_otel.intervention.records import InterventionResult as Result
from debbie_otel.session.model import Outcome


def label(attribute: str) -> str:
    """Return the label that an attribute becomes."""
    return attribute.replace(".", "_")


def _name(metric: str, unit: str = "", suffix: str = "") -> str:
    return "_".join(filter(None, (label(metric), unit, suffix)))


def _counter(metric: str, unit: str = "") -> str:
    return _name(metric, unit, "total")


def _seconds(metric: str) -> str:
    return _name(metric, "seconds")


SERVICE: Final = "service_name"
INSTANCE: Final = "service_instance_id"
METHOD: Final = "method"
"""RPC or MCP method; see `by_method`."""
AGENT: Final = label(semconv.GEN_AI_AGENT_NAME)
TOOL: Final = label(semconv.GEN_AI_TOOL_NAME)
TOOL_OUTCOME: Final = label(semconv.TOOL_OUTCOME)
TURN_OUTCOME: Final = label(semconv.TURN_OUTCOME)
ERROR: Final = label(semconv.ERROR_TYPE)
STATUS_CODE: Final = label(semconv.RPC_RESPONSE_STATUS_CODE)
DIRECTION: Final = label(semconv.MESSAGE_DIRECTION)
MESSAGE_TYPE: Final = label(semconv.MESSAGE_TYPE)
RPC_METHOD: Final = label(semconv.RPC_METHOD)
END_REASON: Final = label(semconv.SESSION_END_REASON)
UNINSPECTED_REASON: Final = label(semconv.UNINSPECTED_REASON)
TOKEN_TYPE: Final = label(semconv.GEN_AI_TOKEN_TYPE)
ALERT: Final = label(semconv.ALERT_TYPE)
SEVERITY: Final = label(semconv.ALERT_SEVERITY)
STRATEGY: Final = label(semconv.INTERVENTION_STRATEGY)
RESULT: Final = label(semconv.INTERVENTION_RESULT)
REASON: Final = label(semconv.INTERVENTION_REASON)
OUTCOME: Final = label(semconv.EXPORT_OUTCOME)
SIGNAL: Final = label(semconv.EXPORT_SIGNAL)
CPU_MODE: Final = label(semconv.CPU_MODE)
CONNECTION_OUTCOME: Final = label(semconv.CONNECTION_OUTCOME)

MESSAGES: Final = _counter(semconv.METRIC_MESSAGES)
IO: Final = _counter(semconv.METRIC_IO, "bytes")
UNINSPECTED: Final = _counter(semconv.METRIC_UNINSPECTED)
TOOLS: Final = _counter(semconv.METRIC_TOOLS)
TOOL_LOOPS: Final = _counter(semconv.METRIC_TOOL_LOOPS)
TOOL_TIME: Final = _seconds(semconv.METRIC_TOOL_DURATION)
TURN_TIME: Final = _seconds(semconv.METRIC_TURN_DURATION)
TOKENS: Final = _counter(semconv.METRIC_TOKENS)
SESSIONS: Final = _name(semconv.METRIC_SESSIONS_ACTIVE)
SESSION_TIME: Final = _seconds(semconv.METRIC_SESSION_DURATION)
PENDING: Final = _name(semconv.METRIC_CALLS_PENDING)
OLDEST_PENDING: Final = _seconds(semconv.METRIC_OLDEST_PENDING)
AGENT_MEMORY: Final = _name(semconv.METRIC_AGENT_MEMORY, "bytes")
ALERTS: Final = _counter(semconv.METRIC_ALERTS)
ALERTS_ACTIVE: Final = _name(semconv.METRIC_ALERTS_ACTIVE)
INTERVENTIONS: Final = _counter(semconv.METRIC_INTERVENTIONS)
INTERVENTION_TIME: Final = _seconds(semconv.METRIC_INTERVENTION_DURATION)
RECOVERY_TIME: Final = _seconds(semconv.METRIC_RECOVERY_TIME)
INSPECTION_ERRORS: Final = _counter(semconv.METRIC_INSPECTION_ERRORS)
CPU: Final = _counter(semconv.METRIC_PROCESS_CPU, "seconds")
MEMORY: Final = _name(semconv.METRIC_PROCESS_MEMORY, "bytes")
RUNNING: Final = _name(semconv.METRIC_PROCESS_RUNNING)
UPTIME: Final = _seconds(semconv.METRIC_PROCESS_UPTIME)
LOOP_LAG: Final = _seconds(semconv.METRIC_LOOP_LAG)
EXPORTED: Final = _counter(semconv.METRIC_EXPORT_SPANS)
EXPORT_FAILURES: Final = _counter(semconv.METRIC_EXPORT_FAILURES)
QUEUE: Final = _name(semconv.METRIC_EXPORT_QUEUE)
QUEUE_CAPACITY: Final = _name(semconv.METRIC_EXPORT_CAPACITY)
SPOOL: Final = _name(semconv.METRIC_SPOOL_SIZE, "bytes")
CONNECTIONS: Final = _counter(semconv.METRIC_CONNECTIONS)
CONNECTIONS_ACTIVE: Final = _name(semconv.METRIC_CONNECTIONS_ACTIVE)

INTERVAL: Final = "$__rate_interval"
"""Grafana's: at least four scrapes, so that a rate never rests on a single step."""
RANGE: Final = "$__range"
"""Grafana's: what the time picker shows."""

FAILED_TURN: Final = f'{TURN_OUTCOME}=~"{Outcome.FAILED}|{Outcome.INCOMPLETE}"'
"""By an error, or stopped mid-task; what a user or the end of a connection cut off is neither."""
FAILED_TOOL: Final = f'{TOOL_OUTCOME}="{Outcome.FAILED}"'
WORKED: Final = f'{RESULT}=~"{Result.SUCCESS}|{Result.PARTIAL_SUCCESS}"'
ATTEMPTED: Final = f'{RESULT}=~"{Result.SUCCESS}|{Result.PARTIAL_SUCCESS}|{Result.FAILURE}"'
FAILED: Final = f'{RESULT}="{Result.FAILURE}"'
SKIPPED: Final = f'{RESULT}="{Result.SKIPPED}"'
TRIED: Final = f'{RESULT}!="{Result.SKIPPED}"'
ESCALATED: Final = f'{RESULT}="{Result.ESCALATED}"'

_CALL_TIMES: Final = {
    "server": (semconv.METRIC_RPC_SERVER_DURATION, semconv.METRIC_MCP_SERVER_DURATION),
    "client": (semconv.METRIC_RPC_CLIENT_DURATION, semconv.METRIC_MCP_CLIENT_DURATION),
}
_METHOD_LABELS: Final = (RPC_METHOD, label(semconv.MCP_METHOD_NAME))


def select(series: str, *matchers: str) -> str:
    """Return a selector, such as `name{label="value"}`."""
    return f"{series}{{{','.join(matchers)}}}" if matchers else series


def legend(*labels: str) -> str:
    """Return the name of a series: the values of these labels."""
    return " ".join(f"{{{{{name}}}}}" for name in labels)


def calls(part: str, *matchers: str, side: str = "server") -> str:
    """Return a selector of call durations, whether they go by RPC's or MCP's convention.

    Args:
        part: `bucket`, `count` or `sum`.
        matchers: Further ones.
        side: Who answers: `server` or `client`.

    """
    names = "|".join(f"{_seconds(metric)}_{part}" for metric in _CALL_TIMES[side])
    return select("", f'__name__=~"{names}"', *matchers)


def of_method(variable: str) -> tuple[str, ...]:
    """Return matchers for `calls`: a series has one of the two labels, the other one is empty."""
    return tuple(f'{name}=~"|{variable}"' for name in _METHOD_LABELS)


def by_method(expression: str) -> str:
    """Give the series of `calls` one label `method`."""
    for name in _METHOD_LABELS:
        expression = f'label_replace({expression}, "{METHOD}", "$1", "{name}", "(.+)")'
    return expression


def rate(selector: str, window: str = INTERVAL) -> str:
    """Return the increase a second."""
    return f"rate({selector}[{window}])"


def events(selector: str, window: str) -> str:
    """Return how often something rare happened in a window, its first time included.

    A series appears with its first event, and `increase` knows no value before; so what has
    appeared within the window counts in full.
    """
    return f"(({selector} unless {selector} offset {window}) or increase({selector}[{window}]))"


def total(expression: str, *by: str) -> str:
    """Return the sum, by labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def counted(expression: str, *by: str) -> str:
    """Return the sum of `events` for people to read: `increase` extrapolates, to 1.14 stalls."""
    return f"round({total(expression, *by)})"


def share(part: str, whole: str) -> str:
    """Return part / whole of two sums: 0 without a part, nothing without a whole."""
    return f"(({part}) or ({whole}) * 0) / (({whole}) > 0)"


def share_of(part: str, whole: str, window: str, *by: str) -> str:
    """Return the share of what happened in a window that `part` selects, by labels."""
    return share(total(events(part, window), *by), total(events(whole, window), *by))


def quantile_of(q: float, increases: str, *by: str) -> str:
    """Return a quantile of the increases of a histogram's buckets, by labels."""
    return f"histogram_quantile({q:g}, {total(increases, 'le', *by)})"


def quantile(q: float, buckets: str, *by: str, window: str = INTERVAL) -> str:
    """Return a quantile of a histogram, in its unit; what was measured first counts too.

    Args:
        q: 0 to 1.
        buckets: Selector of its `_bucket` series.
        by: Labels to tell apart.
        window: How far back.

    """
    return quantile_of(q, events(buckets, window), *by)
