"""The few kinds of panels that the dashboards are made of.

Built with Grafana's foundation SDK, whose builders know the schema; here is what makes the panels
alike: data source, legend, thresholds, links.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import promql as q
from dashboards.source.links import Traces, data_links

PROMETHEUS: Final = common_model.DataSourceRef("prometheus", "prometheus")
WIDTH: Final = 24
"""Columns of Grafana's grid."""

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"

Steps = tuple[tuple[float, str], ...]
"""From which value on a panel has which colour; below the first it is green."""


class Query(NamedTuple):
    """A query and the name of its series; `exemplars` shows those as dots that lead to traces."""

    expression: str
    legend: str = ""
    exemplars: bool = False


class Row(NamedTuple):
    """A titled row of panels; together as wide as the grid, or a multiple of it."""

    title: str
    panels: Sequence[Builder[model.Panel]]


def quantiles(
    buckets: str, *by: str, shares: Sequence[float] = (0.5, 0.95, 0.99), exemplars: bool = True
) -> list[Query]:
    """Return queries for quantiles of a histogram.

    Args:
        buckets: Selector of its `_bucket` series.
        by: Labels to tell apart.
        shares: Which quantiles.
        exemplars: Whether single measurements are shown as well, as dots that lead to traces.

    """
    return [
        Query(q.quantile(share, buckets, *by), f"{q.legend(*by)} p{round(share * 100)}", exemplars)
        for share in shares
    ]


def graph(
    title: str,
    description: str,
    *asked: Query,
    unit: str,
    span: int = 8,
    steps: Steps = (),
    links: Sequence[Traces] = (),
    stacked: bool = False,
    maximum: float | None = None,
) -> timeseries.Panel:
    """Return a time series; `stacked` draws bars on top of each other, for counts."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(span)
        .height(8)
        .unit(unit)
        .min(0)
        .targets([target(query, number) for number, query in enumerate(asked)])
        .thresholds(thresholds(steps))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(
                common_model.GraphThresholdsStyleMode.DASHED
                if steps
                else common_model.GraphThresholdsStyleMode.OFF
            )
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .show_points(common_model.VisibilityMode.AUTO)
        .data_links(data_links(links))
    )
    if maximum is not None:
        panel.max(maximum)
    if stacked:
        panel.draw_style(common_model.GraphDrawStyle.BARS).fill_opacity(70).stacking(
            common.StackingConfig().mode(common_model.StackingMode.NORMAL)
        )
    return panel


def flow(
    title: str,
    description: str,
    selector: str,
    *by: str,
    unit: str,
    names: Sequence[str] = (),
    links: Sequence[Traces] = (),
) -> timeseries.Panel:
    """Return the rate of a counter by labels, of which `names` (all by default) name a series."""
    asked = Query(q.total(q.rate(selector), *by), q.legend(*(names or by)))
    return graph(title, description, asked, unit=unit, links=links)


def happened(
    title: str,
    description: str,
    selector: str,
    *by: str,
    names: Sequence[str] = (),
    links: Sequence[Traces] = (),
) -> timeseries.Panel:
    """Return bars of how often something rare happened in each interval; else as `flow`."""
    asked = Query(q.counted(q.events(selector, q.INTERVAL), *by), q.legend(*(names or by)))
    return graph(title, description, asked, unit="short", stacked=True, links=links)


def number(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str,
    span: int = 3,
    steps: Steps = (),
    links: Sequence[Traces] = (),
) -> stat.Panel:
    """Return one big number, now or over the range, coloured by its thresholds."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(span)
        .height(4)
        .unit(unit)
        .no_value("-")
        .targets([target(Query(expression), 0, instant=True)])
        .thresholds(thresholds(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE)
        .data_links(data_links(links))
    )


def tally(
    title: str,
    description: str,
    selector: str,
    *,
    span: int = 3,
    steps: Steps = (),
    or_zero: bool = False,
) -> stat.Panel:
    """Return how often something happened over the range; with `or_zero`, 0 where it never did."""
    found = q.counted(q.events(selector, q.RANGE))
    asked = f"{found} or vector(0)" if or_zero else found
    return number(title, description, asked, unit="short", span=span, steps=steps)


def bars(
    title: str,
    description: str,
    asked: Query,
    *,
    unit: str,
    span: int = 8,
    steps: Steps = (),
    maximum: float | None = None,
    links: Sequence[Traces] = (),
) -> bargauge.Panel:
    """Return a bar for each series, over the range."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(span)
        .height(8)
        .unit(unit)
        .min(0)
        .no_value("none")
        .targets([target(asked, 0, instant=True)])
        .thresholds(thresholds(steps))
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .data_links(data_links(links))
    )
    if maximum is not None:
        panel.max(maximum)
    return panel


class AlertList(stat.Panel):
    """Grafana's list of alerts, for which the SDK has no builder."""

    def __init__(self) -> None:
        super().__init__()
        self._internal.type_val = "alertlist"
        self._internal.targets = []
        self._internal.options = {
            "viewMode": "list",
            "groupMode": "default",
            "groupBy": [],
            "maxItems": 30,
            "sortOrder": 3,  # by importance
            "dashboardAlerts": False,
            "alertName": "",
            "alertInstanceLabelFilter": '{source="debbie"}',
            "stateFilter": {
                "firing": True,
                "pending": True,
                "noData": False,
                "normal": False,
                "error": True,
            },
        }


def alert_list(title: str, description: str, *, span: int) -> AlertList:
    """Return the list of the fleet's alerts that are pending or firing."""
    return AlertList().title(title).description(description).span(span).height(8)


def target(query: Query, number: int, *, instant: bool = False) -> queries.Dataquery:
    """Return a query of a panel: its number in it, and whether it asks for one moment only."""
    target = (
        queries.Dataquery()
        .datasource(PROMETHEUS)
        .expr(query.expression)
        .legend_format(query.legend or "__auto")
        .ref_id(chr(ord("A") + number))
    )
    if instant:
        return target.instant()
    return target.range().exemplar(query.exemplars)


def thresholds(steps: Steps) -> boards.ThresholdsConfig:
    """Return thresholds."""
    return (
        boards.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps(
            [
                model.Threshold(None, GREEN),
                *(model.Threshold(value, colour) for value, colour in steps),
            ]
        )
    )
