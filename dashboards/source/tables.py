"""Tables: a row for each set of labels, a column for each query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prometheus_model
from grafana_foundation_sdk.models import table as table_model

from dashboards.source.panels import PROMETHEUS, WIDTH, Query, Steps, target, thresholds


class Column(NamedTuple):
    """A column of a table: what it is called, and the query that fills it."""

    title: str
    expression: str
    unit: str = "short"
    steps: Steps = ()


class _Table(table.Panel):
    """Without what Grafana's tables have no longer."""

    def __init__(self) -> None:
        super().__init__()
        options = table_model.Options()
        options.footer = None
        self._internal.options = options


def grid(
    title: str,
    description: str,
    keys: Sequence[str],
    columns: Sequence[Column],
    *,
    span: int = WIDTH,
    link: tuple[str, str] | None = None,
) -> table.Panel:
    """Return a table with a row for each set of labels.

    Args:
        title: Of the panel.
        description: What it shows.
        keys: The labels, which all queries are summed by; the first columns.
        columns: The others.
        span: Columns of the grid.
        link: Title and URL, on the first key.

    """
    panel = (
        _Table()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(span)
        .height(8)
        .no_value("-")
        .unit("short")
        .targets(
            [
                target(Query(column.expression), at, instant=True).format(
                    prometheus_model.PromQueryFormat.TABLE
                )
                for at, column in enumerate(columns)
            ]
        )
        .thresholds(thresholds(()))
        .cell_options(common_model.TableAutoCellOptions())
    )
    names = [_value_field(at) for at in range(len(columns))]
    shown = {key: at for at, key in enumerate([*keys, *names])}
    panel.transformations(
        [
            model.DataTransformerConfig("merge", options={}),
            model.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": shown,
                    "renameByName": dict(
                        zip(names, (column.title for column in columns), strict=True)
                    )
                    | {key: key.replace("_", " ") for key in keys},
                },
            ),
        ]
    )
    for column in columns:
        properties = [model.DynamicConfigValue("unit", column.unit)]
        if column.steps:
            properties += [
                model.DynamicConfigValue("thresholds", thresholds(column.steps).build()),
                model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(column.title, properties)
    if link is not None:
        where = [{"title": link[0], "url": link[1]}]
        panel.override_by_name(
            keys[0].replace("_", " "), [model.DynamicConfigValue("links", where)]
        )
    return panel


def _value_field(at: int) -> str:
    """Return what Grafana calls the value of the n-th query of several."""
    return f"Value #{chr(ord('A') + at)}"
