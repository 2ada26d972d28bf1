"""Fleet overview: all services at a glance, and which one to look at."""

from __future__ import annotations

from dashboards.source import promql as q
from dashboards.source.board import Board, service
from dashboards.source.links import Traces
from dashboards.source.panels import (
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Query,
    Row,
    bars,
    graph,
    number,
    quantiles,
)
from dashboards.source.tables import Column, grid

_SERVICE = 'service_name=~"$service"'
_TURNS = q.select(f"{q.TURN_TIME}_count", _SERVICE)
_FAILED_TURNS = q.select(f"{q.TURN_TIME}_count", _SERVICE, q.FAILED_TURN)
_CALLS = q.calls("count", _SERVICE)
_FAILED_CALLS = q.calls("count", _SERVICE, f'{q.ERROR}!=""')
_STALLS = q.select(q.ALERTS, _SERVICE, f'{q.ALERT}="session_stall"')
_ALERTS = q.select(q.ALERTS, _SERVICE)
_ACTIVE = q.select(q.ALERTS_ACTIVE, _SERVICE)
_WORKED = q.select(q.INTERVENTIONS, _SERVICE, q.WORKED)
_ATTEMPTED = q.select(q.INTERVENTIONS, _SERVICE, q.ATTEMPTED)

_ERROR_STEPS = ((0.05, YELLOW), (0.2, RED))
_RECOVERY_STEPS = ((0.0, RED), (0.5, ORANGE), (0.8, GREEN))
_TURN_STEPS = ((30.0, YELLOW), (60.0, RED))

_TRACES = Traces("Turns in Jaeger", (("gen_ai.operation.name", "'invoke_agent'"),))
_EVERY = Traces("Traces in Jaeger")
_ENDED = Traces("Ends of sessions in Jaeger", (("debbie.session.end_reason", q.END_REASON),))
_FAILED_TRACES = Traces("Errors in Jaeger", (("error", "'true'"),))
_STALL_TRACES = Traces("Stalled turns in Jaeger", (("debbie.alert.type", "'session_stall'"),))


def _now() -> Row:
    return Row(
        "Now",
        (
            number(
                "Sessions",
                "Sessions that have begun and not ended.",
                q.total(q.select(q.SESSIONS, _SERVICE)),
                unit="short",
            ),
            number(
                "Calls in flight",
                "Requests that wait for their answer, both ways.",
                q.total(q.select(q.PENDING, _SERVICE)),
                unit="short",
            ),
            number(
                "Oldest open call",
                "How long the oldest unanswered request has waited. A stall is called after 30 s "
                "of silence by default.",
                f"max({q.select(q.OLDEST_PENDING, _SERVICE)})",
                unit="s",
                steps=((30.0, YELLOW), (60.0, RED)),
            ),
            number(
                "Open alerts",
                "Alerts that have fired and are not resolved.",
                q.total(_ACTIVE),
                unit="short",
                steps=((1.0, RED),),
            ),
            number(
                "Turns",
                "Turns that ended in the time shown.",
                q.total(q.events(_TURNS, q.RANGE)),
                unit="short",
                decimals=0,
            ),
            number(
                "Error rate",
                "Share of the calls that failed, in the time shown.",
                q.share(
                    q.total(q.events(_FAILED_CALLS, q.RANGE)), q.total(q.events(_CALLS, q.RANGE))
                ),
                unit="percentunit",
                steps=_ERROR_STEPS,
            ),
            number(
                "Recovery rate",
                "Share of the interventions after which the agent itself went on, of those that "
                "were carried out, in the time shown.",
                q.share(
                    q.total(q.events(_WORKED, q.RANGE)), q.total(q.events(_ATTEMPTED, q.RANGE))
                ),
                unit="percentunit",
                steps=_RECOVERY_STEPS,
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
            graph(
                "Turns",
                "Turns that end, a second.",
                Query(
                    q.total(q.rate(_TURNS), q.SERVICE, q.TURN_OUTCOME),
                    q.legend(q.SERVICE, q.TURN_OUTCOME),
                ),
                unit="ops",
                links=(_TRACES,),
            ),
            graph(
                "Calls",
                "Requests of clients that were answered, a second.",
                Query(q.total(q.rate(_CALLS), q.SERVICE), q.legend(q.SERVICE)),
                unit="reqps",
                links=(_EVERY,),
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
                *quantiles(q.select(f"{q.TURN_TIME}_bucket", _SERVICE), q.SERVICE),
                unit="s",
                steps=((60.0, RED),),
                links=(_TRACES,),
            ),
            graph(
                "Messages",
                "Messages on the wire, a second.",
                Query(
                    q.total(q.rate(q.select(q.MESSAGES, _SERVICE)), q.SERVICE, q.DIRECTION),
                    q.legend(q.SERVICE, q.DIRECTION),
                ),
                unit="mps",
                links=(_EVERY,),
            ),
            graph(
                "Sessions",
                "Sessions that are open.",
                Query(q.total(q.select(q.SESSIONS, _SERVICE), q.SERVICE), q.legend(q.SERVICE)),
                unit="short",
                links=(_EVERY,),
            ),
        ),
    )


def _wrong() -> Row:
    by_type = (q.SERVICE, q.ALERT)
    return Row(
        "What goes wrong, and what helps",
        (
            graph(
                "Stalls",
                "Sessions that fell silent though they owed something, in each interval.",
                Query(q.total(q.events(_STALLS, q.INTERVAL), q.SERVICE), q.legend(q.SERVICE)),
                unit="short",
                stacked=True,
                links=(_STALL_TRACES,),
            ),
            graph(
                "Alerts",
                "Alerts that fired in each interval, by type.",
                Query(
                    q.total(q.events(_ALERTS, q.INTERVAL), *by_type),
                    q.legend(q.SERVICE, q.ALERT),
                ),
                unit="short",
                stacked=True,
                links=(Traces("Alerts in Jaeger", (("debbie.alert.type", q.ALERT),)),),
            ),
            bars(
                "Recovery rate by service",
                "Share of the interventions that were carried out after which the agent went on.",
                Query(
                    q.share(
                        q.total(q.events(_WORKED, q.RANGE), q.SERVICE),
                        q.total(q.events(_ATTEMPTED, q.RANGE), q.SERVICE),
                    ),
                    q.legend(q.SERVICE),
                ),
                unit="percentunit",
                maximum=1,
                steps=_RECOVERY_STEPS,
            ),
            grid(
                "Services",
                "One line a service, over the time shown; the name leads to its turns and calls.",
                (q.SERVICE,),
                (
                    Column("sessions", q.total(q.select(q.SESSIONS, _SERVICE), q.SERVICE)),
                    Column("turns", q.total(q.events(_TURNS, q.RANGE), q.SERVICE)),
                    Column(
                        "failed turns",
                        q.share(
                            q.total(q.events(_FAILED_TURNS, q.RANGE), q.SERVICE),
                            q.total(q.events(_TURNS, q.RANGE), q.SERVICE),
                        ),
                        "percentunit",
                        _ERROR_STEPS,
                    ),
                    Column(
                        "turn p95",
                        q.quantile(
                            0.95,
                            q.select(f"{q.TURN_TIME}_bucket", _SERVICE),
                            q.SERVICE,
                            window=q.RANGE,
                        ),
                        "s",
                        _TURN_STEPS,
                    ),
                    Column("alerts", q.total(q.events(_ALERTS, q.RANGE), q.SERVICE)),
                    Column(
                        "open alerts",
                        q.total(_ACTIVE, q.SERVICE),
                        "short",
                        ((1.0, RED),),
                    ),
                ),
                link=(
                    "Turns and calls",
                    "/d/debbie-session?var-service=${__value.raw}&${__url_time_range}",
                ),
            ),
        ),
    )


def _sessions() -> Row:
    times = q.select(f"{q.SESSION_TIME}_bucket", _SERVICE)
    return Row(
        "Sessions and agents",
        (
            graph(
                "How long sessions last",
                "Of the sessions that ended.",
                *quantiles(times, q.SERVICE, shares=(0.5, 0.95), exemplars=False),
                unit="s",
                links=(_EVERY,),
            ),
            graph(
                "How sessions end",
                "Sessions that ended in each interval, by reason: stopped by the client, the "
                "connection went, Debbie was stopped.",
                Query(
                    q.total(
                        q.events(q.select(f"{q.SESSION_TIME}_count", _SERVICE), q.INTERVAL),
                        q.SERVICE,
                        q.END_REASON,
                    ),
                    q.legend(q.SERVICE, q.END_REASON),
                ),
                unit="short",
                stacked=True,
                links=(_ENDED,),
            ),
            graph(
                "Memory of agents",
                "Resident memory of the agent's process and its children, where Debbie runs on "
                "the same machine.",
                Query(
                    f"max by ({q.SERVICE}, {q.INSTANCE}) ({q.select(q.AGENT_MEMORY, _SERVICE)})",
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
