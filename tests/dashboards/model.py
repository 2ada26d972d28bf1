"""The generated dashboards as a reader of their JSON sees them: panels, queries, links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parents[2] / "dashboards"
NAMES = ("debbie-fleet", "debbie-session", "debbie-alerts", "debbie-tools", "debbie-herself")


@dataclass(frozen=True)
class Asked:
    """A query of a dashboard.

    Attributes:
        board: Uid of the dashboard.
        panel: Title of the panel, or of the annotation.
        expression: With Grafana's variables in it.
        instant: Whether it asks for one moment, and not for a range.
        legend: How its series are called; empty where nothing says so.

    """

    board: str
    panel: str
    expression: str
    instant: bool
    legend: str = ""

    @property
    def name(self) -> str:
        return f"{self.board} / {self.panel}"


def load(name: str) -> dict[str, Any]:
    """Return a committed dashboard."""
    loaded: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text("utf-8"))
    return loaded


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the panels, without the rows' titles."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def panel_queries(name: str, panel: Mapping[str, Any]) -> Iterator[Asked]:
    """Return the queries of a panel, or of a table's columns."""
    for target in panel.get("targets", []):
        yield Asked(
            name,
            panel["title"],
            target["expr"],
            bool(target.get("instant")),
            target.get("legendFormat", ""),
        )


def queries(name: str) -> Iterator[Asked]:
    """Return every query of a dashboard: panels, tables' columns, annotations, variables."""
    board = load(name)
    for panel in panels(board):
        yield from panel_queries(name, panel)
    for annotation in board["annotations"]["list"]:
        yield Asked(name, annotation["name"], annotation["expr"], instant=False)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert found is not None, variable
            expression = f"count by ({found[2]}) ({found[1]})"
            yield Asked(name, f"${variable['name']}", expression, instant=True)


def all_queries() -> list[Asked]:
    """Return the queries of all dashboards."""
    return [asked for name in NAMES for asked in queries(name)]


def links(panel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the data links of a panel."""
    field: dict[str, Any] = panel.get("fieldConfig", {}).get("defaults", {})
    found: list[dict[str, Any]] = field.get("links", [])
    return found


def filled_in(expression: str, *, interval: str, span: str) -> str:
    """Put values in the place of Grafana's variables: all services, agents, methods, tools.

    Args:
        expression: Of a panel.
        interval: For `$__rate_interval`.
        span: For `$__range`.

    """
    expression = expression.replace("$__rate_interval", interval).replace("$__range", span)
    return re.sub(r"\$(service|agent|method|tool|instance)\b", ".*", expression)
