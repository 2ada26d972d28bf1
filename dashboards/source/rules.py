"""When the fleet's people are called: one list, from which Prometheus' and Grafana's rules come.

A rule compares a value with a limit; both are kept apart, so that a test can ask whether the value
exists while nothing is wrong.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dashboards.source import promql as q

RUNBOOKS: Final = "docs/runbooks.md"
"""One section a rule, whose name is its anchor."""
OBJECTIVE_SECONDS: Final = 60
OBJECTIVE_SHARE: Final = 0.95
"""The objective: so many of the turns take at most so long. The seconds are a bucket's bound."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of the fleet.

    Attributes:
        name: In CamelCase, as Prometheus' rules are called.
        value: The expression that is compared; its value is in the description.
        limit: The comparison, such as `> 0.1`; empty where `value` itself is the condition.
        also: Further conditions, which must hold for the same labels.
        lasts: How long the condition must hold, as Prometheus writes durations.
        severity: `critical` calls somebody, `warning` can wait for the day.
        summary: One line, with `$labels`.
        description: What it means; `$value` and `$labels` are filled in.
        dashboard: Uid of a dashboard, and the title of the panel that shows the value.
        keeps_firing: How long it fires after the condition has ended, against flapping.

    """

    name: str
    value: str
    limit: str
    also: str = ""
    lasts: str = "0s"
    severity: str = "warning"
    summary: str
    description: str
    dashboard: tuple[str, str]
    keeps_firing: str = ""

    @property
    def expression(self) -> str:
        """The condition as PromQL."""
        condition = f"({self.value}) {self.limit}" if self.limit else self.value
        return f"{condition} and {self.also}" if self.also else condition

    @property
    def runbook(self) -> str:
        """Where it says what to do."""
        return f"{RUNBOOKS}#{self.name.lower()}"


_STALLS = q.select(q.ALERTS, f'{q.ALERT}="session_stall"')
_CALLS = q.calls("count")
_FAILED_CALLS = q.calls("count", f'{q.ERROR}!=""')
_TURNS = q.select(f"{q.TURN_TIME}_count")
_FAILED_TURNS = q.select(f"{q.TURN_TIME}_count", q.FAILED_TURN)
_WORKED = q.select(q.INTERVENTIONS, q.WORKED)
_ATTEMPTED = q.select(q.INTERVENTIONS, q.ATTEMPTED)
_EXHAUSTED = q.select(q.INTERVENTIONS, q.SKIPPED, f'{q.REASON}=~"budget|repeated_failures"')
_ESCALATED = q.select(q.INTERVENTIONS, q.ESCALATED)
_DROPPED = q.select(q.EXPORTED, f'{q.OUTCOME}="dropped"')
_IN_TIME = q.select(f"{q.TURN_TIME}_bucket", f'le=~"{OBJECTIVE_SECONDS}([.]0)?"')
_HERE: Final = f"{{{{ $labels.{q.SERVICE} }}}}"
_PERCENT: Final = "{{ $value | humanizePercentage }}"
_COUNT: Final = "{{ $value | humanize }}"


def _counted(selector: str, window: str) -> str:
    return q.total(q.events(selector, window), q.SERVICE)


def _grown(selector: str, window: str) -> str:
    """Return about how often something frequent happened: see `promql.events` on what is rare."""
    return q.total(f"increase({selector}[{window}])", q.SERVICE)


def _recovery(window: str) -> str:
    return q.share_of(_WORKED, _ATTEMPTED, window, q.SERVICE)


def _slow(window: str) -> str:
    """Return the share of the turns that took longer than the objective."""
    in_time = q.total(q.rate(_IN_TIME, window), q.SERVICE)
    every = q.total(q.rate(_TURNS, window), q.SERVICE)
    return f"1 - {in_time} / ({every} > 0)"


def _burning(name: str, times: float, long: str, short: str, severity: str) -> Rule:
    """Return a rule on how fast the error budget is used up.

    The long window keeps single slow turns quiet, the short one ends the alert when it is over.
    """
    limit = f"> {times * (1 - OBJECTIVE_SHARE):.4g}"
    return Rule(
        name=name,
        value=_slow(long),
        limit=limit,
        also=f"({_slow(short)}) {limit}",
        lasts="2m",
        severity=severity,
        summary=f"Turns of {_HERE} are too slow: the objective is being missed",
        description=f"{_PERCENT} of the turns of the last {long} took longer than "
        f"{OBJECTIVE_SECONDS} s, and of the last {short} as many; the objective allows "
        f"{1 - OBJECTIVE_SHARE:.0%}. This uses the budget up {times:g} times too fast.",
        dashboard=("debbie-fleet", "How long turns take"),
    )


_STALLS_NOW = _counted(_STALLS, "15m")
_STALLS_BEFORE = f"{q.total(f'increase({_STALLS}[1h] offset 15m)', q.SERVICE)} / 4"
_LAST_WORD = f"last_over_time({q.RUNNING}[1h])"

SESSIONS: Final = (
    Rule(
        name="DebbieStallsRising",
        value=_STALLS_NOW,
        limit=">= 3",
        also=f"{_STALLS_NOW} > 2 * ({_STALLS_BEFORE} or {_STALLS_NOW} * 0)",
        severity="critical",
        summary=f"More and more sessions of {_HERE} fall silent",
        description=f"{_COUNT} sessions stalled in the last 15 minutes, more than twice as many "
        "as in a quarter of the hour before. Often the model's provider is at fault.",
        dashboard=("debbie-fleet", "Stalls"),
        keeps_firing="10m",
    ),
    Rule(
        name="DebbieErrorRateHigh",
        value=q.share(_grown(_FAILED_CALLS, "10m"), _grown(_CALLS, "10m")),
        limit="> 0.1",
        also=f"{_grown(_CALLS, '10m')} >= 20",
        lasts="5m",
        severity="critical",
        summary=f"Calls to {_HERE} fail",
        description=f"{_PERCENT} of the calls of the last 10 minutes failed.",
        dashboard=("debbie-fleet", "Error rate"),
    ),
    Rule(
        name="DebbieTurnsFailing",
        value=q.share_of(_FAILED_TURNS, _TURNS, "15m", q.SERVICE),
        limit="> 0.2",
        also=f"{_counted(_TURNS, '15m')} >= 5",
        lasts="5m",
        severity="critical",
        summary=f"Turns of {_HERE} fail",
        description=f"{_PERCENT} of the turns of the last 15 minutes failed or stopped mid-task, "
        "though the calls themselves may have succeeded.",
        dashboard=("debbie-session", "Failed turns"),
    ),
    _burning("DebbieTurnsSlowFast", 14.4, "1h", "5m", "critical"),
    _burning("DebbieTurnsSlowSteady", 6, "6h", "30m", "warning"),
)

INTERVENTIONS: Final = (
    Rule(
        name="DebbieRecoveryRateFalling",
        value=_recovery("30m"),
        limit="< 0.5",
        also=f"{_counted(_ATTEMPTED, '30m')} >= 4",
        lasts="5m",
        summary=f"Interventions no longer help in {_HERE}",
        description=f"Only after {_PERCENT} of the attempts of the last 30 minutes did the agent "
        "go on.",
        dashboard=("debbie-fleet", "Recovery rate by service"),
    ),
    Rule(
        name="DebbieRecoveryRateFallen",
        value=f"({_recovery('1h')}) / ({_recovery('1d')} > 0)",
        limit="< 0.7",
        also=f"{_counted(_ATTEMPTED, '1h')} >= 6",
        lasts="15m",
        summary=f"Interventions help less than they did in {_HERE}",
        description="The success rate of the last hour is at {{ $value | humanizePercentage }} of "
        "the one of the last day.",
        dashboard=("debbie-fleet", "Recovery rate by service"),
    ),
    Rule(
        name="DebbieInterventionsExhausted",
        value=q.total(q.events(_EXHAUSTED, "15m"), q.SERVICE, q.ALERT),
        limit="> 0",
        severity="critical",
        summary=f"Debbie has given up on sessions of {_HERE}",
        description=f"{_COUNT} times in the last 15 minutes a session with "
        f"{{{{ $labels.{q.ALERT} }}}} was left alone: its budget is used up, or nothing helps.",
        dashboard=("debbie-alerts", "Why nothing was done"),
    ),
    Rule(
        name="DebbieEscalation",
        value=q.total(q.events(_ESCALATED, "15m"), q.SERVICE, q.ALERT),
        limit="> 0",
        summary=f"A session of {_HERE} needs a person",
        description=f"Escalations because of {{{{ $labels.{q.ALERT} }}}} in the last 15 minutes: "
        f"{_COUNT}.",
        dashboard=("debbie-alerts", "Escalations"),
    ),
)

HERSELF: Final = (
    Rule(
        name="DebbieTelemetryDropped",
        value=q.total(q.events(_DROPPED, "10m"), q.SERVICE, q.INSTANCE),
        limit="> 0",
        summary="A Debbie loses telemetry",
        description=f"{_COUNT} spans of {{{{ $labels.{q.INSTANCE} }}}} were dropped in the last "
        "10 minutes because the export queue was full. Traffic is not affected.",
        dashboard=("debbie-herself", "Spans lost"),
    ),
    Rule(
        name="DebbieExportFailing",
        value=q.total(q.events(q.EXPORT_FAILURES, "10m"), q.SERVICE, q.INSTANCE),
        limit=">= 3",
        lasts="5m",
        summary="A Debbie cannot export",
        description=f"{_COUNT} exports of spans by {{{{ $labels.{q.INSTANCE} }}}} failed in the "
        "last 10 minutes and were repeated. What is not taken before she ends goes to the spool.",
        dashboard=("debbie-herself", "Failed exports"),
    ),
    Rule(
        name="DebbieDown",
        value=f"({_LAST_WORD} == 1) unless {q.RUNNING}",
        limit="",
        lasts="1m",
        severity="critical",
        summary="A Debbie is gone without a farewell",
        description=f"{{{{ $labels.{q.INSTANCE} }}}} reported in the last hour, does not any "
        "more, and has not said that she ends. Clients whose proxy she was have no connection.",
        dashboard=("debbie-herself", "Running"),
    ),
    Rule(
        name="DebbieNoneReports",
        value=f"absent({q.RUNNING})",
        limit="",
        lasts="10m",
        severity="critical",
        summary="No Debbie reports",
        description="No metrics of any Debbie arrive: none runs, or the collector is down.",
        dashboard=("debbie-herself", "Running"),
    ),
)

GROUPS: Final = {
    "debbie-sessions": SESSIONS,
    "debbie-interventions": INTERVENTIONS,
    "debbie-herself": HERSELF,
}
"""Rules by the name of their group."""
