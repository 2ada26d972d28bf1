"""Tools: how often agents run which, how long they take, what fails, what repeats."""

from __future__ import annotations

from dashboards.source import promql as q
from dashboards.source.board import TOOLS, Board, service, variable
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
from dashboards.source.shared import ERROR_STEPS, SERVICE
from dashboards.source.tables import Column, grid

_WHERE = (SERVICE, f'{q.TOOL}=~"$tool"')
_RUNS = q.select(q.TOOLS, *_WHERE)
_FAILED = q.select(q.TOOLS, *_WHERE, q.FAILED_TOOL)
_LOOPS = q.select(q.TOOL_LOOPS, *_WHERE)
_TIMES = q.select(f"{q.TOOL_TIME}_bucket", *_WHERE)
_FAILED_TIMES = q.select(f"{q.TOOL_TIME}_count", *_WHERE, f'{q.ERROR}!=""')
_BY_TOOL = (q.SERVICE, q.TOOL)
_TIMED = "Only of tools whose times the wire tells."

_TRACES = Traces("Runs of this tool in Jaeger", (("gen_ai.tool.name", q.TOOL),))
_FAILURES = Traces(
    "Failed runs of this tool in Jaeger", (("gen_ai.tool.name", q.TOOL), ("error", "'true'"))
)
_LOOPING = Traces("Turns with a loop in Jaeger", (("debbie.alert.type", "'tool_loop'"),))


def _failed_share(window: str, *by: str) -> str:
    return q.share_of(_FAILED, _RUNS, window, *by)


def _now() -> Row:
    return Row(
        "Now",
        (
            tally("Runs", "Executions of these tools, in the time shown.", _RUNS, span=6),
            number(
                "Failed",
                "Share of the executions that failed, in the time shown.",
                _failed_share(q.RANGE),
                unit="percentunit",
                steps=ERROR_STEPS,
                span=6,
            ),
            tally(
                "Loops",
                "Alerts because the same was done over and over, in the time shown.",
                _LOOPS,
                steps=((1.0, RED),),
                span=6,
                or_zero=True,
            ),
            number(
                "Tools",
                "How many different tools agents have run since the start of their Debbies.",
                f"count(count by ({q.TOOL}) ({_RUNS}))",
                unit="short",
                span=6,
            ),
        ),
    )


def _rates() -> Row:
    return Row(
        "Runs and failures",
        (
            flow("Runs", "Executions, a second.", _RUNS, *_BY_TOOL, unit="ops", links=(_TRACES,)),
            graph(
                "Error rate",
                "Share of the executions that failed, in each interval.",
                Query(_failed_share(q.INTERVAL, *_BY_TOOL), q.legend(*_BY_TOOL)),
                unit="percentunit",
                maximum=1,
                steps=((0.2, RED),),
                links=(_FAILURES,),
            ),
            bars(
                "Outcomes",
                "Executions in the time shown, by outcome.",
                Query(
                    q.counted(q.events(_RUNS, q.RANGE), *_BY_TOOL, q.TOOL_OUTCOME),
                    f"{q.legend(q.TOOL)}: {q.legend(q.TOOL_OUTCOME)}",
                ),
                unit="short",
                links=(_TRACES,),
            ),
            happened(
                "Loops",
                "Loops that alerts fired for in each interval, by the tool that repeats.",
                _LOOPS,
                *_BY_TOOL,
                links=(_LOOPING,),
            ),
            graph(
                "How long tools run",
                f"Quantiles; the dots are executions, and lead to their traces. {_TIMED}",
                *quantiles(_TIMES, *_BY_TOOL),
                unit="s",
                links=(_TRACES,),
            ),
            bars(
                "Errors by type",
                f"Executions that failed, in the time shown. {_TIMED}",
                Query(
                    q.counted(q.events(_FAILED_TIMES, q.RANGE), *_BY_TOOL, q.ERROR),
                    f"{q.legend(q.TOOL)}: {q.legend(q.ERROR)}",
                ),
                unit="short",
                steps=((1.0, YELLOW), (10.0, RED)),
                links=(_FAILURES,),
            ),
            grid(
                "Tools",
                f"One line a tool, over the time shown. Times: {_TIMED[0].lower()}{_TIMED[1:]}",
                (q.TOOL, q.SERVICE),
                (
                    Column("runs", q.counted(q.events(_RUNS, q.RANGE), *_BY_TOOL)),
                    Column("failed", _failed_share(q.RANGE, *_BY_TOOL), "percentunit", ERROR_STEPS),
                    Column(
                        "loops",
                        q.counted(q.events(_LOOPS, q.RANGE), *_BY_TOOL),
                        "short",
                        ((1.0, RED),),
                    ),
                    *(
                        Column(
                            f"p{round(share * 100)}",
                            q.quantile(share, _TIMES, *_BY_TOOL, window=q.RANGE),
                            "s",
                        )
                        for share in (0.5, 0.95, 0.99)
                    ),
                ),
            ),
        ),
    )


def board() -> Board:
    """Return the dashboard."""
    return Board(
        "debbie-tools", "Tools", "The tools that agents run: rate, errors, duration, and loops."
    ).filled([service(q.TOOLS), variable(*TOOLS)], [_now(), _rates()])
