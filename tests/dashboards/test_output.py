"""The dashboards: what is committed, and what each panel owes its reader."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.source.output import files
from tests.dashboards import model
from tests.dashboards.drawing import titles
from tests.dashboards.pictures import FOLDER

TITLES = {
    "debbie-fleet": "Fleet overview",
    "debbie-session": "Session & turns",
    "debbie-alerts": "Alerts & interventions",
    "debbie-tools": "Tools",
    "debbie-herself": "Debbie herself",
}


def every_panel() -> list[Any]:
    return [
        pytest.param(panel, id=f"{name}: {panel['title']}")
        for name in model.NAMES
        for panel in model.panels(model.load(name))
    ]


def test_the_committed_files_are_what_is_generated() -> None:
    generated = files()
    found = [
        path.relative_to(model.DIRECTORY).as_posix()
        for pattern in ("*.json", "rules/*", "grafana/*")
        for path in model.DIRECTORY.glob(pattern)
    ]
    assert sorted(found) == sorted(generated)
    for name, text in generated.items():
        committed = (model.DIRECTORY / name).read_text("utf-8")
        assert committed == text, f"{name}: `make dashboards` writes it anew"


@pytest.mark.parametrize("name", model.NAMES)
def test_a_dashboard(name: str) -> None:
    board = model.load(name)
    assert board["uid"] == name
    assert board["title"] == f"Debbie: {TITLES[name]}"
    assert board["description"]
    assert [link["tags"] for link in board["links"]] == [["debbie"]]
    assert "debbie" in board["tags"]
    ids = [panel["id"] for panel in model.panels(board)]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in model.panels(board)]
    in_row = {panel["gridPos"]["y"] for panel in board["panels"] if panel["type"] == "row"}
    assert len(in_row) == sum(panel["type"] == "row" for panel in board["panels"])
    assert len(titles) > 8


@pytest.mark.parametrize("name", model.NAMES)
def test_interventions_and_escalations_are_marked_on_every_dashboard(name: str) -> None:
    marks = model.load(name)["annotations"]["list"]
    assert [mark["name"] for mark in marks] == ["Interventions", "Escalations"]
    for mark in marks:
        assert mark["enable"]
        assert "debbie_interventions_total" in mark["expr"]
        assert mark["datasource"] == {"type": "prometheus", "uid": "prometheus"}


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("debbie-fleet", ["service", "jaeger"]),
        ("debbie-session", ["service", "agent", "method", "jaeger"]),
        ("debbie-alerts", ["service", "jaeger"]),
        ("debbie-tools", ["service", "tool", "jaeger"]),
        ("debbie-herself", ["service", "instance", "jaeger"]),
    ],
)
def test_variables(name: str, variables: list[str]) -> None:
    board = model.load(name)
    assert [variable["name"] for variable in board["templating"]["list"]] == variables
    used = set(
        re.findall(r"\$(?!__)([a-z]+)", " ".join(asked.expression for asked in model.queries(name)))
    )
    assert used == set(variables) - {"jaeger"}


@pytest.mark.parametrize("panel", every_panel())
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    if panel["type"] == "alertlist":
        return
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    assert panel["fieldConfig"]["defaults"]["unit"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    values = [step["value"] for step in steps]
    assert values[0] is None
    assert values[1:] == sorted(values[1:])
    assert panel["targets"]


@pytest.mark.parametrize("panel", every_panel())
def test_a_panel_fits_into_the_grid(panel: dict[str, Any]) -> None:
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24


@pytest.mark.parametrize("panel", every_panel())
def test_what_a_link_asks_for_is_a_label_of_the_series(panel: dict[str, Any]) -> None:
    for link in model.links(panel):
        assert link["url"].startswith("${jaeger}/search?service=${__field.labels.service_name}")
        assert "start=${__from}000&end=${__to}000" in link["url"]
        wanted = set(re.findall(r"\$\{__field\.labels\.(\w+)\}", link["url"]))
        for target in panel["targets"]:
            summed = re.findall(r"(?:sum|max) by \(([^)]+)\)", target["expr"])
            assert summed, target["expr"]
            assert all(wanted <= set(by.split(", ")) for by in summed), (link["url"], summed)


def test_time_series_of_agents_lead_to_their_traces() -> None:
    for name in ("debbie-fleet", "debbie-session", "debbie-alerts", "debbie-tools"):
        graphs = [p for p in model.panels(model.load(name)) if p["type"] == "timeseries"]
        unlinked = [panel["title"] for panel in graphs if not model.links(panel)]
        assert unlinked == (["Memory of agents"] if name == "debbie-fleet" else []), name


def test_windows_of_rates_are_grafanas() -> None:
    """So that a rate never rests on fewer than four scrapes."""
    for asked in model.all_queries():
        windows = re.findall(r"\[([^\]]+)\]", asked.expression)
        annotation = asked.panel in ("Interventions", "Escalations") and set(windows) == {"1m"}
        assert annotation or set(windows) <= {"$__rate_interval", "$__range"}, asked


def test_what_is_counted_is_shown_in_whole_numbers() -> None:
    """`increase` extrapolates; only in a share or a quantile does a fraction do no harm."""
    counts = [
        asked
        for name in model.NAMES
        for panel in model.panels(model.load(name))
        for asked in model.panel_queries(name, panel)
        if "increase(" in asked.expression
        and " / " not in asked.expression
        and "histogram_quantile(" not in asked.expression
    ]
    assert len(counts) > 20
    assert [asked for asked in counts if not asked.expression.startswith("round(sum")] == []


@pytest.mark.parametrize("name", model.NAMES)
def test_the_picture_in_the_documentation_is_of_this_dashboard(name: str) -> None:
    committed = titles(FOLDER / f"{name}.png")
    assert committed == [panel["title"] for panel in model.load(name)["panels"]], "`make pictures`"
    assert f"dashboards/{name}.png" in (FOLDER.parent / "dashboards.md").read_text("utf-8")
