"""The dashboards by the types that Grafana publishes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.dashboards import model
from tests.dashboards.grafana_types import Schemas

pytestmark = pytest.mark.stack("grafana-schema")

PROMETHEUS_ANNOTATION = ("expr", "step", "titleFormat", "textFormat")
"""What the Prometheus data source reads of an annotation; Grafana's common type leaves it out."""


def common_part(board: dict[str, Any]) -> dict[str, Any]:
    board = copy.deepcopy(board)
    for annotation in board["annotations"]["list"]:
        for key in PROMETHEUS_ANNOTATION:
            del annotation[key]
    return board


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return Schemas()


@pytest.mark.parametrize("name", model.NAMES)
def test_a_dashboard_is_of_grafanas_types(name: str, schemas: Schemas) -> None:
    assert schemas.complaints(common_part(model.load(name))) == []


def test_a_mistake_is_found(schemas: Schemas) -> None:
    board = common_part(model.load("debbie-fleet"))
    graph = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    graph["options"]["legend"]["displayMode"] = "tabel"
    graph["fieldConfig"]["defaults"]["custom"]["drawStlye"] = "bars"
    board["time"]["until"] = "now"
    found = "\n".join(schemas.complaints(board))
    assert "tabel" in found
    assert "drawStlye" in found
    assert "until" in found
