"""Draws a dashboard's panels from query results, with matplotlib: what a reader will see, about.

It is no copy of Grafana's looks. It follows the panels' JSON: kind, place, unit, thresholds,
stacking, names of series, columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Series: TypeAlias = Mapping[str, Any]

_BACKGROUND, _PANEL, _INK, _FAINT = "#f4f5f5", "#ffffff", "#24292e", "#8e959c"
_COLOURS = {"green": "#299c46", "yellow": "#e0b400", "orange": "#ed8128", "red": "#d44a3a"}
_LINES = ("#3274d9", "#299c46", "#ed8128", "#a352cc", "#d44a3a", "#14b8a6", "#c9a400", "#7b8794")
_UNIT_HEIGHT, _WIDTH, _DPI = 0.36, 16.0, 75
_LEGEND_ROWS = 5


@dataclass(frozen=True)
class Drawn:
    """A panel, and what its queries returned.

    Attributes:
        panel: Its JSON.
        results: For each query, the series.

    """

    panel: Mapping[str, Any]
    results: Sequence[Sequence[Series]]

    @property
    def unit(self) -> str:
        return str(self.panel["fieldConfig"]["defaults"]["unit"])

    def named(self) -> list[tuple[str, Series]]:
        """Return all series with their names."""
        targets = self.panel["targets"]
        return [
            (name_of(target.get("legendFormat", ""), series["metric"]), series)
            for target, found in zip(targets, self.results, strict=True)
            for series in found
        ]

    def colour(self, value: float, steps: Sequence[Mapping[str, Any]] | None = None) -> str:
        """Return the colour that the thresholds give to a value."""
        if steps is None:
            steps = self.panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        reached = [s["color"] for s in steps if s["value"] is None or value >= s["value"]]
        return _COLOURS[reached[-1]]


def name_of(legend: str, labels: Mapping[str, str]) -> str:
    """Fill in a legend's labels."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def shown(value: float, unit: str) -> str:
    """Return a number with its unit."""
    if isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        if not value:
            return "0 s"
        scales = ((60.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"), (0.0, 1e-6, "µs"))
        return next(f"{value / by:.3g} {name}" for least, by, name in scales if value >= least)
    if unit in ("bytes", "Bps"):
        for name in ("B", "KiB", "MiB", "GiB"):
            if value < 1024 or name == "GiB":
                return f"{value:.3g} {name}" + ("/s" if unit == "Bps" else "")
            value /= 1024
    ending = {"ops": " /s", "reqps": " req/s", "mps": " msg/s"}.get(unit, "")
    return f"{value:.3g}{ending}"


def draw(title: str, panels: Sequence[Drawn], time: tuple[float, float], path: Path) -> None:
    """Draw a dashboard into a PNG file.

    Args:
        title: Of the dashboard.
        panels: In the dashboard's order, with the rows' titles.
        time: The beginning and the end of what is shown, seconds since the epoch.
        path: The file.

    """
    height = max(it.panel["gridPos"]["y"] + it.panel["gridPos"]["h"] for it in panels) + 2
    figure = Figure(figsize=(_WIDTH, height * _UNIT_HEIGHT), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    figure.text(0.008, 1 - 1 / height, title, size=15, weight="bold", color=_INK, va="center")
    for it in panels:
        place = it.panel["gridPos"]
        top = 1 - (place["y"] + 2) / height
        if it.panel["type"] == "row":
            figure.text(
                0.008, top - 0.5 / height, it.panel["title"], size=11, color=_INK, va="center"
            )
            continue
        box = (place["x"] / 24, top - place["h"] / height, place["w"] / 24, place["h"] / height)
        _panel(figure, it, box, height, time)
    figure.savefig(path)
    drawn = PngInfo()
    drawn.add_text("panels", json.dumps([it.panel["title"] for it in panels]))
    with Image.open(path) as picture:  # few colours are enough, and a third of the size
        picture.convert("RGB").quantize(128).save(path, optimize=True, pnginfo=drawn)


def titles(path: Path) -> list[str]:
    """Return the titles of what a picture shows, which `draw` has noted in it."""
    with Image.open(path) as picture:
        found: list[str] = json.loads(picture.info["panels"])
    return found


def _panel(
    figure: Figure,
    it: Drawn,
    box: tuple[float, float, float, float],
    rows: float,
    time: tuple[float, float],
) -> None:
    left, bottom, width, height = box
    gap, line = 0.003, 1 / rows
    frame = figure.add_axes((left + gap, bottom + line / 8, width - 2 * gap, height - line / 4))
    frame.set(xticks=[], yticks=[], facecolor=_PANEL)
    for spine in frame.spines.values():
        spine.set_color("#dcdee0")
    figure.text(
        left + 3 * gap, bottom + height - line * 0.55, it.panel["title"],
        size=9, weight="bold", color=_INK, va="center",
    )  # fmt: skip
    kind = it.panel["type"]
    inner = (left + 0.04, bottom + line * 0.9, width - 0.05, height - 2.1 * line)
    if kind == "timeseries":
        named = it.named()
        legend = min(len(named), _LEGEND_ROWS + 1) * line * 0.55
        axes = figure.add_axes(
            (inner[0], inner[1] + legend + line * 0.4, inner[2], inner[3] - legend - line * 0.4)
        )
        _graph(axes, it, named, time)
        _legend(figure, it, named, (left + 3 * gap, bottom + legend + line * 0.1), line * 0.55)
        return
    axes = figure.add_axes((left + 3 * gap, inner[1] - line * 0.5, width - 6 * gap, inner[3]))
    axes.set_axis_off()
    _KINDS[kind](axes, it)


def _graph(
    axes: Axes, it: Drawn, named: Sequence[tuple[str, Series]], time: tuple[float, float]
) -> None:
    begun, lasted = time[0], time[1] - time[0]
    field = it.panel["fieldConfig"]["defaults"]
    custom = field["custom"]
    floor: dict[float, float] = {}
    for at, (_, series) in enumerate(named):
        points = [(float(t) - begun, float(value)) for t, value in series["values"]]
        times = [t for t, _ in points]
        values = [value for _, value in points]
        colour = _LINES[at % len(_LINES)]
        if custom.get("drawStyle") == "bars":
            values = [0.0 if isnan(value) else value for value in values]
            bottoms = [floor.get(t, 0.0) for t in times]
            axes.bar(times, values, width=0.5, bottom=bottoms, color=colour)
            floor |= {t: b + v for t, b, v in zip(times, bottoms, values, strict=True)}
        else:
            axes.plot(*_with_gaps(times, values), color=colour, linewidth=1.2)
    if not named:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, color=_FAINT, ha="center")
    axes.set_xlim(0, lasted)
    axes.set_ylim(bottom=0, top=field.get("max"))
    if not axes.get_ylim()[1] > 0:
        axes.set_ylim(0, 1)
    if custom["thresholdsStyle"]["mode"] == "dashed":
        for step in field["thresholds"]["steps"][1:]:
            if step["value"] < axes.get_ylim()[1]:
                axes.axhline(step["value"], color=_COLOURS[step["color"]], ls="--", lw=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, it.unit)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{datetime.fromtimestamp(max(value, 0), UTC):%M:%S}")
    )
    axes.tick_params(labelsize=6.5, colors=_FAINT, length=2)
    axes.grid(color="#eceeef", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#dcdee0")


def _with_gaps(times: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Put a hole where points are missing, as Grafana does: no line leads across."""
    step = min((b - a for a, b in pairwise(times)), default=0.0)
    shown_times, shown_values = list(times[:1]), list(values[:1])
    for (before, after), value in zip(pairwise(times), values[1:], strict=True):
        if after - before > 1.5 * step:
            shown_times.append((before + after) / 2)
            shown_values.append(float("nan"))
        shown_times.append(after)
        shown_values.append(value)
    return shown_times, shown_values


def _legend(
    figure: Figure,
    it: Drawn,
    named: Sequence[tuple[str, Series]],
    place: tuple[float, float],
    line: float,
) -> None:
    left, top = place
    for at, (name, series) in enumerate(named[:_LEGEND_ROWS]):
        numbers = [v for _, text in series["values"] if not isnan(v := float(text))]
        last = shown(numbers[-1], it.unit) if numbers else "-"
        most = shown(max(numbers), it.unit) if numbers else "-"
        figure.text(
            left, top - at * line, f"● {name}   last {last}   max {most}",
            size=6.5, color=_LINES[at % len(_LINES)], va="center",
        )  # fmt: skip
    if len(named) > _LEGEND_ROWS:
        rest = f"and {len(named) - _LEGEND_ROWS} more"
        figure.text(left, top - _LEGEND_ROWS * line, rest, size=6.5, color=_FAINT, va="center")


def _value(series: Series) -> float:
    return float(series["value"][1])


def _number(axes: Axes, it: Drawn) -> None:
    found = [_value(series) for _, series in it.named()]
    value = found[0] if found else float("nan")
    colour = _FAINT if isnan(value) else it.colour(value)
    axes.text(0.5, 0.5, shown(value, it.unit), size=20, color=colour, ha="center", va="center")


def _bars(axes: Axes, it: Drawn) -> None:
    named = sorted(it.named(), key=lambda pair: -_value(pair[1]))[:8]
    if not named:
        axes.text(0.5, 0.5, "none", size=12, color=_FAINT, ha="center", va="center")
        return
    most = it.panel["fieldConfig"]["defaults"].get("max") or max(_value(s) for _, s in named) or 1
    for at, (name, series) in enumerate(named):
        value, y = _value(series), -at
        axes.barh(y, most, height=0.5, color="#eceeef")
        axes.barh(y, value, height=0.5, color=it.colour(value))
        axes.text(0, y + 0.32, name, size=7, color=_INK, va="bottom")
        axes.text(
            most, y + 0.32, shown(value, it.unit), size=7, color=_INK, ha="right", va="bottom"
        )
    axes.set_ylim(-max(len(named), 4), 0.9)


def _table(axes: Axes, it: Drawn) -> None:
    organized = it.panel["transformations"][1]["options"]
    names, order = organized["renameByName"], organized["indexByName"]
    overrides = {
        rule["matcher"]["options"]: {p["id"]: p["value"] for p in rule["properties"]}
        for rule in it.panel["fieldConfig"]["overrides"]
    }
    keys = [key for key in sorted(order, key=order.__getitem__) if not key.startswith("Value")]
    rows: dict[tuple[str, ...], dict[int, float]] = {}
    for at, found in enumerate(it.results):
        for series in found:
            key = tuple(series["metric"].get(name, "") for name in keys)
            rows.setdefault(key, {})[at] = _value(series)
    columns = [names[f"Value #{chr(ord('A') + at)}"] for at in range(len(it.results))]
    cells = []
    for key, values in sorted(rows.items())[:10]:
        formats = [overrides[column]["unit"] for column in columns]
        nothing = float("nan")
        cells.append(
            [*key, *(shown(values.get(at, nothing), unit) for at, unit in enumerate(formats))]
        )
    heads = [names[key] for key in keys] + columns
    if not cells:
        cells = [["-"] * len(heads)]
    drawn = axes.table(cells, colLabels=heads, loc="upper center", cellLoc="left", edges="B")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7.5)
    drawn.auto_set_column_width(list(range(len(heads))))
    for (row, _), cell in drawn.get_celld().items():
        cell.set_edgecolor("#dcdee0")
        cell.get_text().set_color(_FAINT if row == 0 else _INK)


def _alerts(axes: Axes, it: Drawn) -> None:
    states = sorted(
        (series["metric"]["alertstate"], series["metric"]["alertname"])
        for found in it.results
        for series in found
    )
    for at, (state, name) in enumerate(states or [("", "none")]):
        colour = _COLOURS["red" if state == "firing" else "yellow" if state else "green"]
        axes.text(0, 1 - at * 0.14, f"● {name}   {state}", size=8, color=colour, va="top")


_KINDS: dict[str, Callable[[Axes, Drawn], None]] = {
    "stat": _number,
    "bargauge": _bars,
    "table": _table,
    "alertlist": _alerts,
}
