"""Every query of every panel and rule, asked of a real Prometheus after a real demo."""

from __future__ import annotations

import dataclasses
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from dashboards.source.rules import GROUPS, Rule
from debbie_otel import semconv
from tests.dashboards import model
from tests.dashboards.drawing import titles
from tests.dashboards.live import INTERVAL, Filled, filled
from tests.dashboards.model import Asked
from tests.dashboards.pictures import draw_board
from tests.integration.proxied import play
from tests.integration.received import Span, Spans
from tests.play import DATA
from tests.stack.peers import until

pytestmark = [
    pytest.mark.stack("prometheus", "collector"),
    pytest.mark.asyncio(loop_scope="module"),
]

SPEED = 10.0
UNINSPECTED = "debbie_messages_uninspected_total"

NOT_IN_THE_DEMO = {
    "Calls by the server, p95": "AIWhisperer's server asks its client nothing",
    "Tokens": "AIWhisperer reports no tokens",
    "Why nothing was done": "nothing is forbidden in the demo",
    "Escalations": "everything is healed before a person is needed",
    "Errors by type": "no tool fails in the demo",
    "Inspection errors": "nothing fails in her",
    "Messages that passed without a look": "each message was looked at",
}
"""Panels without data after the demo, and why: their series begin with what it does not do."""

QUIET = {
    "DebbieEscalation": "everything is healed before a person is needed",
    "DebbieInterventionsExhausted": "no session is given up in the demo",
    "DebbieDown": "its value is the alert: nobody is gone without a farewell",
    "DebbieNoneReports": "its value is the alert: one reports",
}
"""Rules whose value does not exist while all is well, and why; promtool shows them firing."""

EVERY = [rule for rules in GROUPS.values() for rule in rules]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def after(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Filled]:
    async with filled(tmp_path_factory.mktemp("live"), speed=SPEED) as it:
        yield it


def numbers(series: Mapping[str, Any]) -> list[float]:
    """Return the values of a series that are numbers."""
    points = series["values"] if "values" in series else [series["value"]]
    return [number for _, text in points if not isnan(number := float(text))]


async def test_every_panel_has_data(after: Filled) -> None:
    every = model.all_queries()
    empty = [asked for asked in every if not any(map(numbers, await after.ask(asked)))]
    unexplained = [asked for asked in empty if asked.panel not in NOT_IN_THE_DEMO]
    assert unexplained == []
    told = [f"{asked.name}: {NOT_IN_THE_DEMO[asked.panel]}" for asked in empty]
    print(f"without data after a demo, {len(told)} of {len(every)} queries:", *told, sep="\n  ")


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
async def test_every_rule_has_a_value(rule: Rule, after: Filled) -> None:
    found = await after.ask(Asked("rule", rule.name, rule.value, instant=True))
    assert found or rule.name in QUIET
    await after.ask(Asked("rule", rule.name, rule.expression, instant=True))


async def test_prometheus_evaluates_the_rules(after: Filled) -> None:
    groups = (await after.get("rules"))["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert health == {rule.name: "ok" for rule in EVERY}


async def test_what_is_shown_is_what_was_seen(after: Filled) -> None:
    """The numbers on the fleet's page are those of the traces."""
    spans = Spans(after.spans.traces).all
    turns = [span for span in spans if span.name.startswith(semconv.INVOKE_AGENT)]
    alerts = [span for span in spans if span.name.startswith("debbie.alert ")]
    shown: dict[str, float] = {}
    for panel in model.panels(model.load("debbie-fleet")):
        if panel["type"] == "stat":
            (asked,) = model.panel_queries("debbie-fleet", panel)
            (series,) = await after.ask(asked)
            (shown[panel["title"]],) = numbers(series)
    assert shown["Turns"] == pytest.approx(len(turns), abs=0.01)
    assert shown["Sessions"] == shown["Calls in flight"] == 0
    assert shown["Debbies"] == 0  # she has said farewell
    assert 0 < shown["Recovery rate"] <= 1
    fired = await after.series("query", query="sum(debbie_alerts_total)", time=after.ended)
    assert numbers(fired[0]) == [len(alerts)]


@pytest.mark.parametrize("name", model.NAMES)
async def test_a_dashboard_can_be_drawn_from_the_answers(
    name: str, after: Filled, tmp_path: Path
) -> None:
    path = await draw_board(name, after, tmp_path)
    with Image.open(path) as picture:
        colours = picture.getcolors()
        assert picture.width == 1200
    assert colours is not None
    assert len(colours) > 20
    assert titles(path) == [panel["title"] for panel in model.load(name)["panels"]]


async def test_links_lead_to_traces_that_exist(after: Filled) -> None:
    """For each series that a link is on, a span has the tags that Jaeger is asked for."""
    spans = Spans(after.spans.traces).all
    checked = 0
    for name in model.NAMES:
        for panel in model.panels(model.load(name)):
            urls = [link["url"] for link in model.links(panel)]
            for asked in model.panel_queries(name, panel) if urls else ():
                seen = [it["metric"] for it in await after.ask(asked) if any(numbers(it))]
                for url, labels in itertools.product(urls, seen):
                    assert leads(url, labels, spans), (asked.name, url, labels)
                    checked += 1
    assert checked > 60


def leads(url: str, labels: Mapping[str, str], spans: Iterable[Span]) -> bool:
    """Return whether a span has the tags that a link asks Jaeger for, filled in as by Grafana."""
    tags = re.sub(
        r"\$\{__field\.labels\.(\w+)\}",
        lambda found: labels[found[1]],
        url.partition("&tags=")[2],
    )
    wanted = dict(re.findall(r"%22([^%]+)%22%3A%22([^%]*)%22", tags))
    for span in spans:
        has = span.attributes | ({"error": "true"} if span.error is not None else {})
        if span.resource["service.name"] == labels["service_name"] and all(
            str(has.get(key)) == value for key, value in wanted.items()
        ):
            return True
    return False


async def test_exemplars_lead_to_traces_that_exist(after: Filled) -> None:
    known = {span.trace_id for span in Spans(after.spans.traces).all}
    shown = 0
    asked = [
        target["expr"]
        for name in model.NAMES
        for panel in model.panels(model.load(name))
        for target in panel.get("targets", [])
        if target.get("exemplar")
    ]
    for expression in asked:
        query = model.filled_in(expression, interval=INTERVAL, span="1m")
        found = await after.get("query_exemplars", query=query, start=after.begun, end=after.ended)
        traces = {it["labels"]["trace_id"] for series in found for it in series["exemplars"]}
        assert traces <= known
        shown += len(traces)
    assert len(asked) > 10
    assert shown > 20


async def test_other_agents_fill_what_the_demo_leaves_empty(after: Filled, tmp_path: Path) -> None:
    """The last test here, as it adds services: recordings of ACP and Codex, through a proxy."""
    for name in ("acp", "codex"):
        await play(DATA / name / "transcript.jsonl", tmp_path / name, after.otlp)
    small = {"max_message_size": 100}
    await play(
        DATA / "aiwhisperer" / "transcript.jsonl", tmp_path / "small", after.otlp, proxy=small
    )
    series = ("debbie_tokens_total", "rpc_client_call_duration_seconds_count", UNINSPECTED)
    everything = " and on() ".join(f"count({name})" for name in series)
    await until(lambda: after.series("query", query=everything), everything)
    scraped = f"timestamp(up) > {time.time() + 2}"  # a rate needs two points
    await until(lambda: after.series("query", query=scraped), "some more scrapes")
    later = dataclasses.replace(after, ended=time.time())
    filled_now = {
        asked.panel
        for asked in model.all_queries()
        if asked.panel in NOT_IN_THE_DEMO and any(map(numbers, await later.ask(asked)))
    }
    assert filled_now >= {
        "Calls by the server, p95",
        "Tokens",
        "Errors by type",
        "Messages that passed without a look",
    }
