"""`make pictures`: the dashboards after a demo, drawn into docs/dashboards/."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.dashboards import model
from tests.dashboards.drawing import Drawn, draw
from tests.dashboards.live import ROOT, Filled, filled

FOLDER = ROOT / "docs" / "dashboards"
SPEED = 2.0
"""Slow enough for more than a minute on the axis."""


async def draw_board(name: str, after: Filled, folder: Path) -> Path:
    """Draw a dashboard from the answers to its queries; return the picture's file."""
    board = model.load(name)
    panels = []
    for panel in board["panels"]:
        if panel["type"] == "alertlist":
            results = [await after.series("query", query="ALERTS", time=after.ended)]
        else:
            results = [await after.ask(asked) for asked in model.panel_queries(name, panel)]
        panels.append(Drawn(panel, results))
    path = folder / f"{name}.png"
    await asyncio.to_thread(draw, board["title"], panels, (after.begun, after.ended), path)
    return path


async def draw_all(speed: float, folder: Path) -> None:
    """Run a demo, and draw every dashboard."""
    with tempfile.TemporaryDirectory() as work:
        async with filled(Path(work), speed=speed) as after:
            for name in model.NAMES:
                print(await draw_board(name, after, folder))


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    asyncio.run(draw_all(float(sys.argv[1]) if sys.argv[1:] else SPEED, FOLDER))
