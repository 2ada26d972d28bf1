"""The public metrics of what was found wrong in one service, and of what was done about it.

Their attributes are bounded as those of `instruments`, which are of what is on the wire.
"""

from __future__ import annotations

from typing import Literal, Protocol

from opentelemetry.metrics import Meter

from debbie_otel import semconv
from debbie_otel.telemetry.aggregate import Histograms, Sums, named
from debbie_otel.telemetry.names import Names

_alert_attributes = named(semconv.ALERT_TYPE, semconv.ALERT_SEVERITY)
_intervention_attributes = named(
    semconv.INTERVENTION_STRATEGY,
    semconv.ALERT_TYPE,
    semconv.INTERVENTION_RESULT,
    semconv.INTERVENTION_REASON,
)


class InterventionFacts(Protocol):
    """What is measured of an intervention: an `InterventionRecord`."""

    @property
    def strategy(self) -> str: ...  # noqa: D102 - as there
    @property
    def alert_type(self) -> str: ...  # noqa: D102
    @property
    def result(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def ended_ns(self) -> int: ...  # noqa: D102
    @property
    def duration(self) -> float: ...  # noqa: D102
    @property
    def recovery_seconds(self) -> float | None: ...  # noqa: D102


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

    def intervention(self, record: InterventionFacts, trace_id: int = 0, span_id: int = 0) -> None:
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
