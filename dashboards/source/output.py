"""What is written where: the dashboards and rules as the texts of their files."""

from __future__ import annotations

from typing import Any, Final

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.source import fleet, herself, interventions, session, tools
from dashboards.source.alerting import grafana_rules, prometheus_rules
from dashboards.source.board import Board

BOARDS: Final = (fleet.board, session.board, interventions.board, tools.board, herself.board)
_HEADER: Final = "# Generated from dashboards/source: change it there, then `make dashboards`.\n"


def files() -> dict[str, str]:
    """Return the text of each generated file, by its path within `dashboards/`."""
    boards = [_text(board()) for board in BOARDS]
    return {f"{uid}.json": text for uid, _, text in boards} | {
        "rules/debbie.yaml": _yaml(prometheus_rules()),
        "grafana/alerting.yaml": _yaml(
            grafana_rules({key: id_ for _, panels, _ in boards for key, id_ in panels.items()})
        ),
    }


def _text(board: Board) -> tuple[str, dict[tuple[str, str], int], str]:
    """Return uid, the ids of panels by uid and title, and JSON."""
    built = board.build()
    uid = built.uid or ""
    panels = {
        (uid, panel.title or ""): panel.id_val
        for panel in built.panels or []
        if panel.type_val != "row" and panel.id_val is not None
    }
    return uid, panels, JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def _yaml(content: dict[str, Any]) -> str:
    return _HEADER + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)
