"""Debbie herself: what she costs, and whether telemetry gets out."""

from __future__ import annotations

from dashboards.source import promql as q
from dashboards.source.board import Board, service, variable
from dashboards.source.panels import (
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Query,
    Row,
    bars,
    graph,
    happened,
    number,
    tally,
)
from dashboards.source.tables import Column, grid

_HER = 'service_name=~"$service"'
_WHERE = (_HER, 'service_instance_id=~"$instance"')
_SAME = ('service_instance_id=~"$instance"',)  # what she reports for agents has their service
_INSTANCE = (q.SERVICE, q.INSTANCE)
_NAME = q.legend(q.INSTANCE)
_DROPPED = q.select(q.EXPORTED, *_WHERE, f'{q.OUTCOME}="dropped"')
_SPOOLED = q.select(q.EXPORTED, *_WHERE, f'{q.OUTCOME}="spooled"')
_FAILURES = q.select(q.EXPORT_FAILURES, *_WHERE)
_ERRORS = q.select(q.INSPECTION_ERRORS, *_SAME)
_CPU = q.rate(q.select(q.CPU, *_WHERE))
_CPU_PER_MESSAGE = f"{q.total(_CPU)} / ({q.total(q.rate(q.select(q.MESSAGES, *_SAME)))} > 0)"
_FULL = f"{q.select(q.QUEUE, *_WHERE)} / ({q.select(q.QUEUE_CAPACITY, *_WHERE)} > 0)"

_INSTANCES = (
    "instance",
    "Debbie",
    f'label_values({q.RUNNING}{{{q.SERVICE}=~"$service"}}, {q.INSTANCE})',
)


def _now() -> Row:
    return Row(
        "Now",
        (
            number(
                "Running",
                "Debbies that run and report.",
                q.total(q.select(q.RUNNING, *_WHERE)),
                unit="short",
                steps=((0.0, RED), (1.0, GREEN)),
            ),
            number(
                "Youngest",
                "How long ago the Debbie that started last did: a crash loop keeps it low.",
                f"min({q.select(q.UPTIME, *_WHERE)})",
                unit="s",
            ),
            number(
                "CPU",
                "The busiest Debbie, in CPUs: she works on one thread, and from 0.8 on it shows.",
                f"max({q.total(_CPU, *_INSTANCE)})",
                unit="percentunit",
                steps=((0.5, YELLOW), (0.8, RED)),
            ),
            number(
                "CPU for a message",
                "CPU time of all Debbies over the messages that passed.",
                _CPU_PER_MESSAGE,
                unit="s",
            ),
            number(
                "Event loop lag",
                "The longest that a Debbie took to come to something new; a message waits so long.",
                f"max({q.select(q.LOOP_LAG, *_WHERE)})",
                unit="s",
                steps=((0.05, YELLOW), (0.25, RED)),
            ),
            number(
                "Export queue",
                "The fullest queue of spans; what does not fit is dropped.",
                f"max({_FULL})",
                unit="percentunit",
                steps=((0.5, YELLOW), (0.9, RED)),
            ),
            tally(
                "Spans lost",
                "Spans that were dropped because the queue was full, in the time shown.",
                _DROPPED,
                steps=((1.0, RED),),
            ),
            tally(
                "Inspection errors",
                "Failures of her own, in the time shown. Each costs telemetry, never a message.",
                _ERRORS,
                steps=((1.0, RED),),
                or_zero=True,
            ),
        ),
    )


def _cost() -> Row:
    return Row(
        "What she costs",
        (
            graph(
                "CPU",
                "In CPUs, by user and system time.",
                Query(q.total(_CPU, *_INSTANCE, q.CPU_MODE), f"{_NAME} {q.legend(q.CPU_MODE)}"),
                unit="percentunit",
                steps=((0.8, RED),),
            ),
            graph(
                "CPU for a message",
                "CPU time of all Debbies over the messages that passed.",
                Query(_CPU_PER_MESSAGE, "CPU time"),
                unit="s",
            ),
            graph(
                "Event loop lag",
                "How long a Debbie took to come to something new: the latest look before each "
                "export.",
                Query(q.select(q.LOOP_LAG, *_WHERE), _NAME),
                unit="s",
                steps=((0.05, YELLOW), (0.25, RED)),
            ),
            graph(
                "Memory",
                "Resident memory of Debbie's process.",
                Query(q.select(q.MEMORY, *_WHERE), _NAME),
                unit="bytes",
            ),
            graph(
                "Connections",
                "Of clients, open.",
                Query(q.select(q.CONNECTIONS_ACTIVE, *_WHERE), _NAME),
                unit="short",
            ),
            bars(
                "What became of connections",
                "In the time shown: accepted, refused because too many were open, or the "
                "upstream could not be reached.",
                Query(
                    q.counted(
                        q.events(q.select(q.CONNECTIONS, *_WHERE), q.RANGE), q.CONNECTION_OUTCOME
                    ),
                    q.legend(q.CONNECTION_OUTCOME),
                ),
                unit="short",
            ),
        ),
    )


def _export() -> Row:
    return Row(
        "Whether telemetry gets out",
        (
            graph(
                "Spans",
                "What became of spans, a second: delivered, written to the spool because nobody "
                "took them, dropped because the queue was full.",
                Query(
                    q.total(q.rate(q.select(q.EXPORTED, *_WHERE)), *_INSTANCE, q.OUTCOME),
                    f"{_NAME} {q.legend(q.OUTCOME)}",
                ),
                unit="ops",
            ),
            graph(
                "Export queue",
                "How full the queue of spans is.",
                Query(_FULL, _NAME),
                unit="percentunit",
                maximum=1,
                steps=((0.9, RED),),
            ),
            graph(
                "Failed exports",
                "Exports that failed and were repeated, in each interval.",
                Query(q.counted(q.events(_FAILURES, q.INTERVAL), *_INSTANCE), _NAME),
                unit="short",
                stacked=True,
            ),
            graph(
                "Spool",
                "Telemetry that could not be delivered and waits in files.",
                Query(
                    q.total(q.select(q.SPOOL, *_WHERE), *_INSTANCE, q.SIGNAL),
                    f"{_NAME} {q.legend(q.SIGNAL)}",
                ),
                unit="bytes",
                steps=((1.0, YELLOW),),
            ),
            graph(
                "Inspection errors",
                "Failures of her own in each interval, by place. Each costs telemetry, never a "
                "message.",
                Query(
                    q.counted(q.events(_ERRORS, q.INTERVAL), q.INSTANCE, q.ERROR),
                    f"{_NAME} {q.legend(q.ERROR)}",
                ),
                unit="short",
                stacked=True,
            ),
            happened(
                "Messages that passed without a look",
                "In each interval: too large, or in a form that is not understood.",
                q.select(q.UNINSPECTED, *_SAME),
                q.SERVICE,
                q.UNINSPECTED_REASON,
            ),
            grid(
                "Debbies",
                "One line a Debbie that reports, over the time shown.",
                (q.INSTANCE, q.SERVICE),
                (
                    Column("up for", q.total(q.select(q.UPTIME, *_WHERE), *_INSTANCE), "s"),
                    Column("CPU", q.total(_CPU, *_INSTANCE), "percentunit", ((0.8, RED),)),
                    Column("memory", q.total(q.select(q.MEMORY, *_WHERE), *_INSTANCE), "bytes"),
                    Column(
                        "connections", q.total(q.select(q.CONNECTIONS_ACTIVE, *_WHERE), *_INSTANCE)
                    ),
                    Column(
                        "spans dropped",
                        q.counted(q.events(_DROPPED, q.RANGE), *_INSTANCE),
                        "short",
                        ((1.0, RED),),
                    ),
                    Column(
                        "spans spooled",
                        q.counted(q.events(_SPOOLED, q.RANGE), *_INSTANCE),
                        "short",
                        ((1.0, ORANGE),),
                    ),
                ),
            ),
        ),
    )


def board() -> Board:
    """Return the dashboard."""
    return Board(
        "debbie-herself",
        "Debbie herself",
        "What Debbie costs, and whether her telemetry gets out.",
        annotated=f'{q.SERVICE}!=""',
    ).filled([service(q.RUNNING), variable(*_INSTANCES)], [_now(), _cost(), _export()])
