"""Fleet overview: all services at a glance, and which one to look at."""

from __future__ import annotations

from dashboards.source import promql as q
from dashboards.source.board import Board, service
from dashboards.source.links import Traces
from dashboards.source.panels import (
    GREEN,
    RED,
    Query,
    Row,
    bars,
    flow,
    graph,
    happened,
    number,
    quantiles,
    tally,
)
from dashboards.source.shared import (
    ERROR_STEPS,
    EVERY,
    RECOVERY_STEPS,
    SERVICE,
    WAIT_STEPS,
    level,
    traffic,
    under_way,
)
from dashboards.source.tables import Column, grid

_TURNS = q.select(f"{q.TURN_TIME}_count", SERVICE)
_FAILED_TURNS = q.select(f"{q.TURN_TIME}_count", SERVICE, q.FAILED_TURN)
_CALLS = q.calls("count", SERVICE)
_FAILED_CALLS = q.calls("count", SERVICE, f'{q.ERROR}!=""')
_STALLS = q.select(q.ALERTS, SERVICE, f'{q.ALERT}="session_stall"')
_ALERTS = q.select(q.ALERTS, SERVICE)
_ACTIVE = q.select(q.ALERTS_ACTIVE, SERVICE)
_WORKED = q.select(q.INTERVENTIONS, SERVICE, q.WORKED)
_ATTEMPTED = q.select(q.INTERVENTIONS, SERVICE, q.ATTEMPTED)


_TRACES = Traces("Turns in Jaeger", (("gen_ai.operation.name", "'invoke_agent'"),))
_ENDED = Traces("Ends of sessions in Jaeger", (("debbie.session.end_reason", q.END_REASON),))
_FAILED_TRACES = Traces("Errors in Jaeger", (("error", "'true'"),))
_STALL_TRACES = Traces("Stalled turns in Jaeger", (("debbie.alert.type", "'session_stall'"),))


def _now() -> Row:
    return Row(
        "Now",
        (
            *under_way(
                "How long the oldest unanswered request has waited. A stall is called after 30 s "
                "of silence by default.",
                span=3,
            ),
            number(
                "Open alerts",
                "Alerts that have fired and are not resolved.",
                q.total(_ACTIVE),
                unit="short",
                steps=((1.0, RED),),
            ),
            tally("Turns", "Turns that ended in the time shown.", _TURNS),
            number(
                "Error rate",
                "Share of the calls that failed, in the time shown.",
                q.share_of(_FAILED_CALLS, _CALLS, q.RANGE),
                unit="percentunit",
                steps=ERROR_STEPS,
            ),
            number(
                "Recovery rate",
                "Share of the interventions after which the agent itself went on, of those that "
                "were carried out, in the time shown.",
                q.share_of(_WORKED, _ATTEMPTED, q.RANGE),
                unit="percentunit",
                steps=RECOVERY_STEPS,
            ),
            number(
                "Debbies",
                "Proxies that run and report.",
                q.total(q.RUNNING),
                unit="short",
                steps=((0.0, RED), (1.0, GREEN)),
            ),
        ),
    )


def _traffic() -> Row:
    return Row(
        "Turns and calls",
        (
            flow(
                "Turns",
                "Turns that end, a second.",
                _TURNS,
                q.SERVICE,
                q.TURN_OUTCOME,
                unit="ops",
                links=(_TRACES,),
            ),
            flow(
                "Calls",
                "Requests of clients that were answered, a second.",
                _CALLS,
                q.SERVICE,
                unit="reqps",
                links=(EVERY,),
            ),
            graph(
                "Error rate",
                "Share of the calls that failed. The fleet is alerted above 10 %.",
                Query(
                    q.share(
                        q.total(q.rate(_FAILED_CALLS), q.SERVICE),
                        q.total(q.rate(_CALLS), q.SERVICE),
                    ),
                    q.legend(q.SERVICE),
                ),
                unit="percentunit",
                steps=((0.1, RED),),
                links=(_FAILED_TRACES,),
            ),
            graph(
                "How long turns take",
                "Quantiles over all agents; the dots are turns, and lead to their traces. The "
                "objective is 60 s.",
                *quantiles(q.select(f"{q.TURN_TIME}_bucket", SERVICE), q.SERVICE),
                unit="s",
                steps=((60.0, RED),),
                links=(_TRACES,),
            ),
            traffic("Messages", "Messages on the wire, a second.", q.MESSAGES, "mps"),
            level("Sessions", "Sessions that are open.", q.SESSIONS),
        ),
    )


def _wrong() -> Row:
    by_type = (q.SERVICE, q.ALERT)
    return Row(
        "What goes wrong, and what helps",
        (
            happened(
                "Stalls",
                "Sessions that fell silent though they owed something, in each interval.",
                _STALLS,
                q.SERVICE,
                links=(_STALL_TRACES,),
            ),
            happened(
                "Alerts",
                "Alerts that fired in each interval, by type.",
                _ALERTS,
                *by_type,
                names=(q.SERVICE, q.ALERT),
                links=(Traces("Alerts in Jaeger", (("debbie.alert.type", q.ALERT),)),),
            ),
            bars(
                "Recovery rate by service",
                "Share of the interventions that were carried out after which the agent went on.",
                Query(q.share_of(_WORKED, _ATTEMPTED, q.RANGE, q.SERVICE), q.legend(q.SERVICE)),
                unit="percentunit",
                maximum=1,
                steps=RECOVERY_STEPS,
            ),
            grid(
                "Services",
                "One line a service, over the time shown; the name leads to its turns and calls.",
                (q.SERVICE,),
                (
                    Column("sessions", q.total(q.select(q.SESSIONS, SERVICE), q.SERVICE)),
                    Column("turns", q.counted(q.events(_TURNS, q.RANGE), q.SERVICE)),
                    Column(
                        "failed turns",
                        q.share_of(_FAILED_TURNS, _TURNS, q.RANGE, q.SERVICE),
                        "percentunit",
                        ERROR_STEPS,
                    ),
                    Column(
                        "turn p95",
                        q.quantile(
                            0.95,
                            q.select(f"{q.TURN_TIME}_bucket", SERVICE),
                            q.SERVICE,
                            window=q.RANGE,
                        ),
                        "s",
                        WAIT_STEPS,
                    ),
                    Column("alerts", q.counted(q.events(_ALERTS, q.RANGE), q.SERVICE)),
                    Column("open alerts", q.total(_ACTIVE, q.SERVICE), "short", ((1.0, RED),)),
                ),
                link=(
                    "Turns and calls",
                    "/d/debbie-session?var-service=${__value.raw}&${__url_time_range}",
                ),
            ),
        ),
    )


def _sessions() -> Row:
    times = q.select(f"{q.SESSION_TIME}_bucket", SERVICE)
    return Row(
        "Sessions and agents",
        (
            graph(
                "How long sessions last",
                "Of the sessions that ended.",
                *quantiles(times, q.SERVICE, shares=(0.5, 0.95), exemplars=False),
                unit="s",
                links=(EVERY,),
            ),
            happened(
                "How sessions end",
                "Sessions that ended in each interval, by reason: stopped by the client, the "
                "connection went, Debbie was stopped.",
                q.select(f"{q.SESSION_TIME}_count", SERVICE),
                q.SERVICE,
                q.END_REASON,
                links=(_ENDED,),
            ),
            graph(
                "Memory of agents",
                "Resident memory of the agent's process and its children, where Debbie runs on "
                "the same machine.",
                Query(
                    f"max by ({q.SERVICE}, {q.INSTANCE}) ({q.select(q.AGENT_MEMORY, SERVICE)})",
                    q.legend(q.SERVICE, q.INSTANCE),
                ),
                unit="bytes",
            ),
        ),
    )


def board() -> Board:
    """Return the dashboard."""
    return Board(
        "debbie-fleet",
        "Fleet overview",
        "All agents behind Debbie: sessions, turns, errors, stalls, alerts, recovery.",
    ).filled([service()], [_now(), _traffic(), _wrong(), _sessions()])
