"""Session & turns: by agent, method and tool."""

from __future__ import annotations

from dashboards.source import promql as q
from dashboards.source.board import AGENTS, METHODS, Board, service, variable
from dashboards.source.links import Traces
from dashboards.source.panels import RED, YELLOW, Query, Row, bars, graph, number, quantiles
from dashboards.source.tables import Column, grid

_SERVICE = 'service_name=~"$service"'
_AGENT = f'{q.AGENT}=~"$agent"'
_METHOD = q.of_method("$method")
_MESSAGE = f'{q.RPC_METHOD}=~"|$method"'
_TURNS = q.select(f"{q.TURN_TIME}_count", _SERVICE, _AGENT)
_FAILED_TURNS = q.select(f"{q.TURN_TIME}_count", _SERVICE, _AGENT, q.FAILED_TURN)
_CALLS = q.calls("count", _SERVICE, *_METHOD)
_FAILED = q.calls("count", _SERVICE, *_METHOD, f'{q.ERROR}!=""')
_BY_METHOD = (q.SERVICE, q.METHOD)

_TURN = Traces("Turns of this agent in Jaeger", (("gen_ai.agent.name", q.AGENT),))
_FAILED_TURN = Traces(
    "Failed turns of this agent in Jaeger",
    (
        ("gen_ai.agent.name", q.AGENT),
        ("error", "'true'"),
    ),
)
_CALL = Traces("Calls of this method in Jaeger", (("rpc.method", q.METHOD),))
_FAILED_CALL = Traces(
    "Failed calls of this method in Jaeger",
    (
        ("rpc.method", q.METHOD),
        ("error", "'true'"),
    ),
)
_EVERY = Traces("Traces in Jaeger")
_METHOD_NAME = q.legend(q.SERVICE, q.METHOD)


def _now() -> Row:
    return Row(
        "Now",
        (
            number(
                "Sessions",
                "Sessions that have begun and not ended.",
                q.total(q.select(q.SESSIONS, _SERVICE)),
                unit="short",
                span=4,
            ),
            number(
                "Calls in flight",
                "Requests that wait for their answer, both ways.",
                q.total(q.select(q.PENDING, _SERVICE)),
                unit="short",
                span=4,
            ),
            number(
                "Oldest open call",
                "How long the oldest unanswered request has waited.",
                f"max({q.select(q.OLDEST_PENDING, _SERVICE)})",
                unit="s",
                span=4,
                steps=((30.0, YELLOW), (60.0, RED)),
            ),
            number(
                "Turns",
                "Turns that ended in the time shown.",
                q.total(q.events(_TURNS, q.RANGE)),
                unit="short",
                span=4,
                decimals=0,
            ),
            number(
                "Failed turns",
                "Share of the turns that failed or stopped mid-task, in the time shown.",
                q.share(
                    q.total(q.events(_FAILED_TURNS, q.RANGE)), q.total(q.events(_TURNS, q.RANGE))
                ),
                unit="percentunit",
                span=4,
                steps=((0.05, YELLOW), (0.2, RED)),
            ),
            number(
                "Failed calls",
                "Share of the calls of these methods that failed, in the time shown.",
                q.share(q.total(q.events(_FAILED, q.RANGE)), q.total(q.events(_CALLS, q.RANGE))),
                unit="percentunit",
                span=4,
                steps=((0.05, YELLOW), (0.2, RED)),
            ),
        ),
    )


def _turns() -> Row:
    buckets = q.select(f"{q.TURN_TIME}_bucket", _SERVICE, _AGENT)
    by_agent = (q.SERVICE, q.AGENT)
    return Row(
        "Turns, by agent",
        (
            graph(
                "Turns",
                "Turns that end, a second, by how they end.",
                Query(
                    q.total(q.rate(_TURNS), *by_agent, q.TURN_OUTCOME),
                    q.legend(q.AGENT, q.TURN_OUTCOME),
                ),
                unit="ops",
                links=(_TURN,),
            ),
            graph(
                "Failed turns",
                "Turns that failed or stopped mid-task in each interval, by the type of the error.",
                Query(
                    q.total(
                        q.events(_FAILED_TURNS, q.INTERVAL), *by_agent, q.TURN_OUTCOME, q.ERROR
                    ),
                    q.legend(q.AGENT, q.TURN_OUTCOME, q.ERROR),
                ),
                unit="short",
                stacked=True,
                links=(_FAILED_TURN,),
            ),
            graph(
                "How long turns take",
                "Quantiles; the dots are turns, and lead to their traces. The objective is 60 s.",
                *quantiles(buckets, *by_agent),
                unit="s",
                steps=((60.0, RED),),
                links=(_TURN,),
            ),
        ),
    )


def _calls() -> Row:
    buckets = q.calls("bucket", _SERVICE, *_METHOD)
    made = q.calls("bucket", _SERVICE, *_METHOD, side="client")
    return Row(
        "Calls, by method",
        (
            graph(
                "Calls",
                "Requests of clients that were answered, a second.",
                Query(q.total(q.by_method(q.rate(_CALLS)), *_BY_METHOD), _METHOD_NAME),
                unit="reqps",
                links=(_CALL,),
            ),
            graph(
                "Error rate",
                "Share of the calls that failed.",
                Query(
                    q.share(
                        q.total(q.by_method(q.rate(_FAILED)), *_BY_METHOD),
                        q.total(q.by_method(q.rate(_CALLS)), *_BY_METHOD),
                    ),
                    _METHOD_NAME,
                ),
                unit="percentunit",
                maximum=1,
                steps=((0.1, RED),),
                links=(_FAILED_CALL,),
            ),
            bars(
                "Errors by code",
                "Calls that failed in the time shown: JSON-RPC's code where the answer had one.",
                Query(
                    q.total(q.by_method(q.events(_FAILED, q.RANGE)), *_BY_METHOD, q.ERROR),
                    f"{{{{{q.METHOD}}}}}: {{{{{q.ERROR}}}}}",
                ),
                unit="short",
                steps=((1.0, YELLOW), (10.0, RED)),
                links=(_FAILED_CALL,),
            ),
            *(
                graph(
                    f"Response time p{round(share * 100)}",
                    f"{round(share * 100)} of 100 calls are answered within this time; the dots "
                    "are calls, and lead to their traces.",
                    Query(
                        f"histogram_quantile({share:g}, "
                        + q.total(q.by_method(q.events(buckets, q.INTERVAL)), "le", *_BY_METHOD)
                        + ")",
                        _METHOD_NAME,
                        exemplars=True,
                    ),
                    unit="s",
                    links=(_CALL,),
                )
                for share in (0.5, 0.95, 0.99)
            ),
            graph(
                "Calls by the server, p95",
                "How long clients take to answer what the agent asks: permissions, files, "
                "terminals. Waiting for a person is no stall.",
                Query(
                    "histogram_quantile(0.95, "
                    f"{q.total(q.by_method(q.events(made, q.INTERVAL)), 'le', *_BY_METHOD)})",
                    _METHOD_NAME,
                ),
                unit="s",
                links=(_CALL,),
            ),
            graph(
                "In flight",
                "Requests that wait for their answer.",
                Query(q.total(q.select(q.PENDING, _SERVICE), q.SERVICE), q.legend(q.SERVICE)),
                unit="short",
                links=(_EVERY,),
            ),
            graph(
                "Oldest open call",
                "How long the oldest unanswered request has waited.",
                Query(
                    f"max by ({q.SERVICE}) ({q.select(q.OLDEST_PENDING, _SERVICE)})",
                    q.legend(q.SERVICE),
                ),
                unit="s",
                steps=((30.0, YELLOW), (60.0, RED)),
                links=(Traces("Stalls in Jaeger", (("debbie.alert.type", "'session_stall'"),)),),
            ),
            grid(
                "Methods",
                "One line a method, over the time shown.",
                (q.METHOD, q.SERVICE),
                (
                    Column("calls", q.total(q.by_method(q.events(_CALLS, q.RANGE)), *_BY_METHOD)),
                    Column(
                        "failed",
                        q.share(
                            q.total(q.by_method(q.events(_FAILED, q.RANGE)), *_BY_METHOD),
                            q.total(q.by_method(q.events(_CALLS, q.RANGE)), *_BY_METHOD),
                        ),
                        "percentunit",
                        ((0.05, YELLOW), (0.2, RED)),
                    ),
                    *(
                        Column(
                            f"p{round(share * 100)}",
                            f"histogram_quantile({share:g}, "
                            + q.total(q.by_method(q.events(buckets, q.RANGE)), "le", *_BY_METHOD)
                            + ")",
                            "s",
                        )
                        for share in (0.5, 0.95, 0.99)
                    ),
                ),
            ),
        ),
    )


def _wire() -> Row:
    messages = q.select(q.MESSAGES, _SERVICE, _MESSAGE)
    return Row(
        "Messages",
        (
            graph(
                "Messages by type",
                "Requests, responses, errors, notifications, and what is no JSON-RPC, a second.",
                Query(
                    q.total(q.rate(messages), q.SERVICE, q.MESSAGE_TYPE, q.DIRECTION),
                    q.legend(q.MESSAGE_TYPE, q.DIRECTION),
                ),
                unit="mps",
                links=(_EVERY,),
            ),
            graph(
                "Bytes",
                "Payload of messages, decompressed, a second.",
                Query(
                    q.total(q.rate(q.select(q.IO, _SERVICE)), q.SERVICE, q.DIRECTION),
                    q.legend(q.SERVICE, q.DIRECTION),
                ),
                unit="Bps",
                links=(_EVERY,),
            ),
            graph(
                "Size of a message",
                "The mean.",
                Query(
                    q.total(q.rate(q.select(q.IO, _SERVICE)), q.SERVICE, q.DIRECTION)
                    + " / ("
                    + q.total(q.rate(q.select(q.MESSAGES, _SERVICE)), q.SERVICE, q.DIRECTION)
                    + " > 0)",
                    q.legend(q.SERVICE, q.DIRECTION),
                ),
                unit="bytes",
                links=(_EVERY,),
            ),
            graph(
                "Messages by method",
                "Requests and notifications, a second.",
                Query(
                    q.total(
                        q.rate(
                            q.select(
                                q.MESSAGES,
                                _SERVICE,
                                f'{q.RPC_METHOD}=~"$method"',
                                f'{q.RPC_METHOD}!=""',
                            )
                        ),
                        q.SERVICE,
                        q.RPC_METHOD,
                    ),
                    q.legend(q.SERVICE, q.RPC_METHOD),
                ),
                unit="mps",
                links=(Traces("This method in Jaeger", (("rpc.method", q.RPC_METHOD),)),),
            ),
            graph(
                "Tokens",
                "Tokens that agents reported, a second.",
                Query(
                    q.total(
                        q.rate(q.select(q.TOKENS, _SERVICE, _AGENT)),
                        q.SERVICE,
                        q.AGENT,
                        q.TOKEN_TYPE,
                    ),
                    q.legend(q.AGENT, q.TOKEN_TYPE),
                ),
                unit="short",
                links=(_TURN,),
            ),
            graph(
                "Tools, by agent's service",
                "Executions of tools, a second; more on them in the dashboard Tools.",
                Query(
                    q.total(q.rate(q.select(q.TOOLS, _SERVICE)), q.SERVICE, q.TOOL),
                    q.legend(q.SERVICE, q.TOOL),
                ),
                unit="ops",
                links=(Traces("This tool in Jaeger", (("gen_ai.tool.name", q.TOOL),)),),
            ),
        ),
    )


def board() -> Board:
    """Return the dashboard."""
    return Board(
        "debbie-session",
        "Session & turns",
        "Turns by agent, calls by method: rate, errors, duration, what is in flight.",
    ).filled(
        [service(), variable(*AGENTS), variable(*METHODS)],
        [_now(), _turns(), _calls(), _wire()],
    )
