"""Panels and limits that more than one dashboard has."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import stat, timeseries

from dashboards.source import promql as q
from dashboards.source.links import Traces
from dashboards.source.panels import GREEN, ORANGE, RED, YELLOW, Query, Steps, flow, graph, number

SERVICE: Final = 'service_name=~"$service"'
"""Matcher of the services that are chosen."""
EVERY: Final = Traces("Traces in Jaeger")

ERROR_STEPS: Final[Steps] = ((0.05, YELLOW), (0.2, RED))
RECOVERY_STEPS: Final[Steps] = ((0.0, RED), (0.5, ORANGE), (0.8, GREEN))
WAIT_STEPS: Final[Steps] = ((30.0, YELLOW), (60.0, RED))
"""Of a turn or an open call, in seconds."""


def level(title: str, description: str, metric: str) -> timeseries.Panel:
    """Return a graph of how many are open, by service."""
    asked = Query(q.total(q.select(metric, SERVICE), q.SERVICE), q.legend(q.SERVICE))
    return graph(title, description, asked, unit="short", links=(EVERY,))


def traffic(title: str, description: str, metric: str, unit: str) -> timeseries.Panel:
    """Return a graph of what goes over the wire, by service and direction."""
    by = (q.SERVICE, q.DIRECTION)
    return flow(title, description, q.select(metric, SERVICE), *by, unit=unit, links=(EVERY,))


def under_way(oldest: str, span: int) -> tuple[stat.Panel, ...]:
    """Return the numbers of open sessions and calls, and the oldest call's age.

    Args:
        oldest: Description of the oldest call's number.
        span: Columns of the grid, of each.

    """
    return (
        number(
            "Sessions",
            "Sessions that have begun and not ended.",
            q.total(q.select(q.SESSIONS, SERVICE)),
            unit="short",
            span=span,
        ),
        number(
            "Calls in flight",
            "Requests that wait for their answer, both ways.",
            q.total(q.select(q.PENDING, SERVICE)),
            unit="short",
            span=span,
        ),
        number(
            "Oldest open call",
            oldest,
            f"max({q.select(q.OLDEST_PENDING, SERVICE)})",
            unit="s",
            span=span,
            steps=WAIT_STEPS,
        ),
    )
