"""Alerts & interventions: what goes wrong, what is done about it, and whether it helps."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table

from dashboards.source import promql as q
from dashboards.source.board import Board, service
from dashboards.source.links import Traces
from dashboards.source.panels import (
    ORANGE,
    RED,
    YELLOW,
    Query,
    Row,
    alert_list,
    bars,
    graph,
    happened,
    number,
    quantiles,
    tally,
)
from dashboards.source.shared import RECOVERY_STEPS, SERVICE
from dashboards.source.tables import Column, grid

_ALERTS = q.select(q.ALERTS, SERVICE)
_ACTIVE = q.select(q.ALERTS_ACTIVE, SERVICE)
_TRIED = q.select(q.INTERVENTIONS, SERVICE, q.TRIED)
_ATTEMPTED = q.select(q.INTERVENTIONS, SERVICE, q.ATTEMPTED)
_WORKED = q.select(q.INTERVENTIONS, SERVICE, q.WORKED)
_FAILED = q.select(q.INTERVENTIONS, SERVICE, q.FAILED)
_SKIPPED = q.select(q.INTERVENTIONS, SERVICE, q.SKIPPED)
_ESCALATED = q.select(q.INTERVENTIONS, SERVICE, q.ESCALATED)
_RECOVERY = q.select(f"{q.RECOVERY_TIME}_bucket", SERVICE)

_ALERT_TRACES = Traces("Turns with this alert in Jaeger", (("debbie.alert.type", q.ALERT),))
_STRATEGY_TRACES = Traces(
    "Turns with this intervention in Jaeger", (("debbie.intervention.strategy", q.STRATEGY),)
)
_OUTCOME_TRACES = Traces(
    "Turns with this outcome in Jaeger",
    (("debbie.intervention.strategy", q.STRATEGY), ("debbie.intervention.result", q.RESULT)),
)
_REASON_TRACES = Traces(
    "Turns with this outcome in Jaeger", (("debbie.intervention.reason", q.REASON),)
)
_ESCALATION_TRACES = Traces(
    "Escalated turns in Jaeger", (("debbie.intervention.result", "'escalated'"),)
)


def _success(*by: str) -> str:
    """Return the share of the attempts after which the agent went on."""
    return q.share_of(_WORKED, _ATTEMPTED, q.RANGE, *by)


def _now() -> Row:
    return Row(
        "Now",
        (
            number(
                "Open alerts",
                "Alerts that have fired and are not resolved.",
                q.total(_ACTIVE),
                unit="short",
                steps=((1.0, RED),),
                span=4,
            ),
            tally("Alerts", "Alerts that fired in the time shown.", _ALERTS, span=4),
            tally(
                "Interventions",
                "Attempts to help that were carried out, in the time shown.",
                _TRIED,
                span=4,
            ),
            number(
                "Success rate",
                "Share of the attempts after which the agent itself went on, in the time shown.",
                _success(),
                unit="percentunit",
                steps=RECOVERY_STEPS,
                span=4,
            ),
            number(
                "Time to recover",
                "From an alert to the agent's first move after what helped: the median of the "
                "time shown.",
                q.quantile(0.5, _RECOVERY, window=q.RANGE),
                unit="s",
                steps=((60.0, YELLOW), (300.0, RED)),
                span=4,
            ),
            tally(
                "Escalations",
                "How often a person was told, in the time shown.",
                _ESCALATED,
                steps=((1.0, ORANGE),),
                span=4,
                or_zero=True,
            ),
        ),
    )


def _alerts() -> Row:
    return Row(
        "Alerts",
        (
            alert_list(
                "Fleet alerts",
                "The rules of this fleet that are pending or firing; each leads to its runbook.",
                span=8,
            ),
            happened(
                "Alerts by type",
                "Alerts of sessions that fired in each interval.",
                _ALERTS,
                q.SERVICE,
                q.ALERT,
                links=(_ALERT_TRACES,),
            ),
            graph(
                "Open alerts",
                "Alerts that have fired and are not resolved.",
                Query(q.total(_ACTIVE, q.SERVICE, q.ALERT), q.legend(q.SERVICE, q.ALERT)),
                unit="short",
                links=(_ALERT_TRACES,),
            ),
            bars(
                "Alerts, by type and severity",
                "In the time shown.",
                Query(
                    q.counted(q.events(_ALERTS, q.RANGE), q.SERVICE, q.ALERT, q.SEVERITY),
                    q.legend(q.ALERT, q.SEVERITY),
                ),
                unit="short",
                links=(_ALERT_TRACES,),
            ),
            bars(
                "Success rate, by alert",
                "Share of the attempts after which the agent went on, in the time shown.",
                Query(_success(q.SERVICE, q.ALERT), q.legend(q.ALERT)),
                unit="percentunit",
                maximum=1,
                steps=RECOVERY_STEPS,
                links=(_ALERT_TRACES,),
            ),
            bars(
                "Success rate, by strategy",
                "Share of the attempts after which the agent went on, in the time shown.",
                Query(_success(q.SERVICE, q.STRATEGY), q.legend(q.STRATEGY)),
                unit="percentunit",
                maximum=1,
                steps=RECOVERY_STEPS,
                links=(_STRATEGY_TRACES,),
            ),
        ),
    )


def _interventions() -> Row:
    return Row(
        "Interventions",
        (
            happened(
                "Interventions, by strategy and result",
                "Attempts that had their outcome in each interval.",
                _TRIED,
                q.SERVICE,
                q.STRATEGY,
                q.RESULT,
                names=(q.STRATEGY, q.RESULT),
                links=(_OUTCOME_TRACES,),
            ),
            graph(
                "Time to recover",
                "From an alert to the agent's first move after what helped; the dots are "
                "recoveries, and lead to their traces.",
                *quantiles(_RECOVERY, q.SERVICE, q.STRATEGY, shares=(0.5, 0.95)),
                unit="s",
                steps=((60.0, YELLOW), (300.0, RED)),
                links=(_STRATEGY_TRACES,),
            ),
            graph(
                "How long attempts take",
                "From an attempt to its outcome.",
                *quantiles(
                    q.select(f"{q.INTERVENTION_TIME}_bucket", SERVICE),
                    q.SERVICE,
                    q.STRATEGY,
                    shares=(0.5, 0.95),
                ),
                unit="s",
                links=(_STRATEGY_TRACES,),
            ),
            bars(
                "Why attempts failed",
                "Attempts that failed in the time shown, by strategy and reason.",
                Query(
                    q.counted(q.events(_FAILED, q.RANGE), q.SERVICE, q.STRATEGY, q.REASON),
                    f"{q.legend(q.STRATEGY)}: {q.legend(q.REASON)}",
                ),
                unit="short",
                steps=((1.0, YELLOW), (5.0, RED)),
                links=(_REASON_TRACES,),
            ),
            bars(
                "Why nothing was done",
                "What policy, budget, or the state of a session forbade, in the time shown.",
                Query(
                    q.counted(q.events(_SKIPPED, q.RANGE), q.SERVICE, q.ALERT, q.REASON),
                    f"{q.legend(q.ALERT)}: {q.legend(q.REASON)}",
                ),
                unit="short",
                steps=((1.0, YELLOW),),
                links=(_REASON_TRACES,),
            ),
            happened(
                "Escalations",
                "How often a person was told, in each interval.",
                _ESCALATED,
                q.SERVICE,
                q.ALERT,
                links=(_ESCALATION_TRACES,),
            ),
            _strategies(),
        ),
    )


def _strategies() -> table.Panel:
    by = (q.STRATEGY, q.ALERT)
    return grid(
        "Strategies",
        "What has helped against what, over the time shown.",
        by,
        (
            Column("attempts", q.counted(q.events(_TRIED, q.RANGE), *by)),
            Column("success rate", _success(*by), "percentunit", RECOVERY_STEPS),
            Column("failed", q.counted(q.events(_FAILED, q.RANGE), *by)),
            Column("median time to recover", q.quantile(0.5, _RECOVERY, *by, window=q.RANGE), "s"),
        ),
    )


def board() -> Board:
    """Return the dashboard."""
    return Board(
        "debbie-alerts",
        "Alerts & interventions",
        "What goes wrong in sessions, what Debbie does about it, and whether it helps.",
    ).filled([service()], [_now(), _alerts(), _interventions()])
