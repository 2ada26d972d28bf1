"""The alert rules: by the real promtool, and the same in Grafana's file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.source import rules as source
from debbie_otel import semconv
from tests.dashboards import model
from tests.stack import cache

UNIT_TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
EVERY = [rule for rules in source.GROUPS.values() for rule in rules]


def promtool(*arguments: str) -> str:
    program = cache.program("promtool")
    assert program is not None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def committed(name: str) -> dict[str, dict[str, Any]]:
    """Return the rules of a committed file by their names."""
    groups = yaml.safe_load((model.DIRECTORY / name).read_text("utf-8"))["groups"]
    return {
        rule.get("alert", rule.get("title")): rule for group in groups for rule in group["rules"]
    }


@pytest.mark.stack("prometheus")
def test_prometheus_accepts_the_rules() -> None:
    told = promtool("check", "rules", str(model.DIRECTORY / "rules" / "debbie.yaml"))
    assert f"{len(EVERY)} rules found" in told


@pytest.mark.stack("prometheus")
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_rules_fire_when_they_should_and_only_then(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_each_rule_is_seen_firing_and_quiet() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for path in UNIT_TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for seen in test.get("alert_rule_test", []):
                (fires if seen["exp_alerts"] else quiet).add(seen["alertname"])
                if seen["exp_alerts"] and len(test["input_series"]) > 1:
                    quiet.add(seen["alertname"])  # for the other series
            for seen in test.get("promql_expr_test", []):
                name = re.findall(r'alertname="(\w+)"', seen["expr"])[0]
                (fires if seen["exp_samples"] else quiet).add(name)
    names = {rule.name for rule in EVERY}
    assert fires == names
    assert quiet == names


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
def test_a_rule_says_what_it_means_and_what_to_do(rule: source.Rule) -> None:
    written = committed("rules/debbie.yaml")[rule.name]
    assert written["labels"] == {"severity": rule.severity, "source": "debbie"}
    notes = written["annotations"]
    assert notes["summary"]
    assert notes["description"].endswith(".")
    page, anchor = notes["runbook_url"].split("#")
    assert page == "docs/runbooks.md"
    headings = re.findall(r"^## (.+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    board, title = rule.dashboard
    assert title in [panel["title"] for panel in model.panels(model.load(board))]


def test_no_section_of_the_runbooks_is_without_its_rule() -> None:
    headings = re.findall(r"^## (.+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)
    assert headings == [rule.name for rule in EVERY]


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
def test_grafana_has_the_same_rule(rule: source.Rule) -> None:
    ours, theirs = (
        committed(name)[rule.name] for name in ("rules/debbie.yaml", "grafana/alerting.yaml")
    )
    query, is_there, fires = theirs["data"]
    assert query["datasourceUid"] == "prometheus"
    assert query["model"]["expr"] == ours["expr"]
    assert query["model"]["instant"]
    assert query["relativeTimeRange"]["from"] > 0
    assert is_there["model"]["expression"].startswith("is_number($A)")
    assert fires["refId"] == theirs["condition"]
    assert fires["model"]["expression"] == is_there["refId"]
    assert theirs["for"] == ours["for"]
    assert theirs.get("keepFiringFor") == ours.get("keep_firing_for")
    assert theirs["labels"] == ours["labels"]
    for note in ("summary", "runbook_url"):
        assert theirs["annotations"][note] == ours["annotations"][note]
    assert (
        re.sub(r"\$values\.A\.Value", "$value", theirs["annotations"]["description"])
        == (ours["annotations"]["description"])
    )
    assert len(theirs["uid"]) <= 40
    panels = model.panels(model.load(theirs["dashboardUid"]))
    assert (theirs["panelId"], rule.dashboard[1]) in [(p["id"], p["title"]) for p in panels]


def test_the_objective_is_a_bound_of_the_buckets() -> None:
    assert source.OBJECTIVE_SECONDS in semconv.TURN_BUCKETS
