"""Session & turns: by agent, method and tool."""

from __future__ import annotations

from dashboards.source import promql as q
from dashboards.source.board import AGENTS, METHODS, Board, service, variable
from dashboards.source.links import Traces
from dashboards.source.panels import (
    RED,
    YELLOW,
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
    SERVICE,
    WAIT_STEPS,
    level,
    traffic,
    under_way,
)
from dashboards.source.tables import Column, grid

_AGENT = f'{q.AGENT}=~"$agent"'
_METHOD = q.of_method("$method")
_MESSAGE = f'{q.RPC_METHOD}=~"|$method"'
_TURNS = q.select(f"{q.TURN_TIME}_count", SERVICE, _AGENT)
_FAILED_TURNS = q.select(f"{q.TURN_TIME}_count", SERVICE, _AGENT, q.FAILED_TURN)
_CALLS = q.calls("count", SERVICE, *_METHOD)
_FAILED = q.calls("count", SERVICE, *_METHOD, f'{q.ERROR}!=""')
_BY_METHOD = (q.SERVICE, q.METHOD)

_TURN = Traces("Turns of this agent in Jaeger", (("gen_ai.agent.name", q.AGENT),))
_FAILED_TURN = Traces(
    "Failed turns of this agent in Jaeger", (("gen_ai.agent.name", q.AGENT), ("error", "'true'"))
)
_CALL = Traces("Calls of this method in Jaeger", (("rpc.method", q.METHOD),))
_FAILED_CALL = Traces(
    "Failed calls of this method in Jaeger", (("rpc.method", q.METHOD), ("error", "'true'"))
)
_METHOD_NAME = q.legend(q.SERVICE, q.METHOD)


def _quantile(share: float, buckets: str, window: str) -> str:
    """Return a quantile by method; see `promql.quantile`."""
    return q.quantile_of(share, q.by_method(q.events(buckets, window)), *_BY_METHOD)


def _now() -> Row:
    return Row(
        "Now",
        (
            *under_way("How long the oldest unanswered request has waited.", span=4),
            tally("Turns", "Turns that ended in the time shown.", _TURNS, span=4),
            number(
                "Failed turns",
                "Share of the turns that failed or stopped mid-task, in the time shown.",
                q.share_of(_FAILED_TURNS, _TURNS, q.RANGE),
                unit="percentunit",
                span=4,
                steps=ERROR_STEPS,
            ),
            number(
                "Failed calls",
                "Share of the calls of these methods that failed, in the time shown.",
                q.share_of(_FAILED, _CALLS, q.RANGE),
                unit="percentunit",
                span=4,
                steps=ERROR_STEPS,
            ),
        ),
    )


def _turns() -> Row:
    buckets = q.select(f"{q.TURN_TIME}_bucket", SERVICE, _AGENT)
    by_agent = (q.SERVICE, q.AGENT)
    return Row(
        "Turns, by agent",
        (
            flow(
                "Turns",
                "Turns that end, a second, by how they end.",
                _TURNS,
                *by_agent,
                q.TURN_OUTCOME,
                names=(q.AGENT, q.TURN_OUTCOME),
                unit="ops",
                links=(_TURN,),
            ),
            happened(
                "Failed turns",
                "Turns that failed or stopped mid-task in each interval, by the type of the error.",
                _FAILED_TURNS,
                *by_agent,
                q.TURN_OUTCOME,
                q.ERROR,
                names=(q.AGENT, q.TURN_OUTCOME, q.ERROR),
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
    buckets = q.calls("bucket", SERVICE, *_METHOD)
    made = q.calls("bucket", SERVICE, *_METHOD, side="client")
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
                    q.counted(q.by_method(q.events(_FAILED, q.RANGE)), *_BY_METHOD, q.ERROR),
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
                    Query(_quantile(share, buckets, q.INTERVAL), _METHOD_NAME, exemplars=True),
                    unit="s",
                    links=(_CALL,),
                )
                for share in (0.5, 0.95, 0.99)
            ),
            graph(
                "Calls by the server, p95",
                "How long clients take to answer what the agent asks: permissions, files, "
                "terminals. Waiting for a person is no stall.",
                Query(_quantile(0.95, made, q.INTERVAL), _METHOD_NAME),
                unit="s",
                links=(_CALL,),
            ),
            level("In flight", "Requests that wait for their answer.", q.PENDING),
            graph(
                "Oldest open call",
                "How long the oldest unanswered request has waited.",
                Query(
                    f"max by ({q.SERVICE}) ({q.select(q.OLDEST_PENDING, SERVICE)})",
                    q.legend(q.SERVICE),
                ),
                unit="s",
                steps=WAIT_STEPS,
                links=(Traces("Stalls in Jaeger", (("debbie.alert.type", "'session_stall'"),)),),
            ),
            grid(
                "Methods",
                "One line a method, over the time shown.",
                (q.METHOD, q.SERVICE),
                (
                    Column("calls", q.counted(q.by_method(q.events(_CALLS, q.RANGE)), *_BY_METHOD)),
                    Column(
                        "failed",
                        q.share(
                            q.total(q.by_method(q.events(_FAILED, q.RANGE)), *_BY_METHOD),
                            q.total(q.by_method(q.events(_CALLS, q.RANGE)), *_BY_METHOD),
                        ),
                        "percentunit",
                        ERROR_STEPS,
                    ),
                    *(
                        Column(f"p{round(share * 100)}", _quantile(share, buckets, q.RANGE), "s")
                        for share in (0.5, 0.95, 0.99)
                    ),
                ),
            ),
        ),
    )


def _wire() -> Row:
    messages = q.select(q.MESSAGES, SERVICE, _MESSAGE)
    return Row(
        "Messages",
        (
            flow(
                "Messages by type",
                "Requests, responses, errors, notifications, and what is no JSON-RPC, a second.",
                messages,
                q.SERVICE,
                q.MESSAGE_TYPE,
                q.DIRECTION,
                names=(q.MESSAGE_TYPE, q.DIRECTION),
                unit="mps",
                links=(EVERY,),
            ),
            traffic("Bytes", "Payload of messages, decompressed, a second.", q.IO, "Bps"),
            graph(
                "Size of a message",
                "The mean.",
                Query(
                    q.total(q.rate(q.select(q.IO, SERVICE)), q.SERVICE, q.DIRECTION)
                    + " / ("
                    + q.total(q.rate(q.select(q.MESSAGES, SERVICE)), q.SERVICE, q.DIRECTION)
                    + " > 0)",
                    q.legend(q.SERVICE, q.DIRECTION),
                ),
                unit="bytes",
                links=(EVERY,),
            ),
            flow(
                "Messages by method",
                "Requests and notifications, a second.",
                q.select(q.MESSAGES, SERVICE, f'{q.RPC_METHOD}=~"$method"', f'{q.RPC_METHOD}!=""'),
                q.SERVICE,
                q.RPC_METHOD,
                unit="mps",
                links=(Traces("This method in Jaeger", (("rpc.method", q.RPC_METHOD),)),),
            ),
            flow(
                "Tokens",
                "Tokens that agents reported, a second.",
                q.select(q.TOKENS, SERVICE, _AGENT),
                q.SERVICE,
                q.AGENT,
                q.TOKEN_TYPE,
                names=(q.AGENT, q.TOKEN_TYPE),
                unit="short",
                links=(_TURN,),
            ),
            flow(
                "Tools, by agent's service",
                "Executions of tools, a second; more on them in the dashboard Tools.",
                q.select(q.TOOLS, SERVICE),
                q.SERVICE,
                q.TOOL,
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
        [service(), variable(*AGENTS), variable(*METHODS)], [_now(), _turns(), _calls(), _wire()]
    )
