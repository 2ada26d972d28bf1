"""The rules in the files of those who evaluate them: Prometheus, or Grafana itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dashboards.source.rules import GROUPS, Rule

_INTERVAL: Final = "30s"
_FOLDER: Final = "Debbie"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def prometheus_rules() -> dict[str, Any]:
    """Return the content of a rule file."""
    return {
        "groups": [
            {
                "name": name,
                "interval": _INTERVAL,
                "rules": [_prometheus_rule(rule) for rule in rules],
            }
            for name, rules in GROUPS.items()
        ]
    }


def _prometheus_rule(rule: Rule) -> dict[str, Any]:
    timing = {"for": rule.lasts}
    if rule.keeps_firing:
        timing["keep_firing_for"] = rule.keeps_firing
    return {
        "alert": rule.name,
        "expr": rule.expression,
        **timing,
        "labels": _labels(rule),
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": rule.runbook,
            "dashboard": f"/d/{rule.dashboard[0]}",
        },
    }


def grafana_rules(panels: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Return the content of a file that provisions the rules in Grafana.

    Args:
        panels: The id of each panel, by dashboard's uid and panel's title.

    """
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": name,
                "folder": _FOLDER,
                "interval": _INTERVAL,
                "rules": [_grafana_rule(rule, panels[rule.dashboard]) for rule in rules],
            }
            for name, rules in GROUPS.items()
        ],
    }


def _grafana_rule(rule: Rule, panel: int) -> dict[str, Any]:
    """Return a rule that fires for each series which the query returns, as in Prometheus."""
    return {
        "uid": re.sub(r"(?<!^)(?=[A-Z])", "-", rule.name).lower(),
        "title": rule.name,
        "condition": "C",
        "data": [
            _node("A", "prometheus", _window(rule), {"expr": rule.expression, "instant": True}),
            _node(
                "B",
                "__expr__",
                0,
                {"type": "math", "expression": "is_number($A) || is_nan($A) || is_inf($A)"},
            ),
            _node(
                "C",
                "__expr__",
                0,
                {
                    "type": "threshold",
                    "expression": "B",
                    "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
                },
            ),
        ],
        "dashboardUid": rule.dashboard[0],
        "panelId": panel,
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.lasts,
        **({"keepFiringFor": rule.keeps_firing} if rule.keeps_firing else {}),
        "labels": _labels(rule),
        "annotations": {
            "summary": rule.summary,
            "description": rule.description.replace("$value", "$values.A.Value"),
            "runbook_url": rule.runbook,
        },
    }


def _node(ref: str, source: str, window: int, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref,
        "relativeTimeRange": {"from": window, "to": 0},
        "datasourceUid": source,
        "model": {"refId": ref, **model},
    }


def _window(rule: Rule) -> int:
    """Return the longest window of the rule's expression in seconds."""
    found = re.findall(r"(\d+)([smhd])\]", rule.expression)
    return max((int(number) * _SECONDS[unit] for number, unit in found), default=600)


def _labels(rule: Rule) -> dict[str, str]:
    return {"severity": rule.severity, "source": "debbie"}
