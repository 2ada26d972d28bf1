"""`debbie demo` through the whole stack: collectors, Jaeger, Prometheus, Alertmanager, a webhook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from debbie_otel import semconv
from tests.integration.command import command, environment
from tests.intervention.receiver import Receiver, receiving
from tests.stack import scrape
from tests.stack.peers import ROOT, Collector, Jaeger, alertmanager, fetch, jaeger, prometheus
from tests.stack.peers import until as wait_until
from tests.telemetry.collector import free_port

pytestmark = [
    pytest.mark.stack("collector", "jaeger", "prometheus", "alertmanager"),
    pytest.mark.asyncio(loop_scope="module"),
]

SERVICE = "aiwhisperer-agent"
SPEED = "20"
DEMO = 60.0
"""Seconds that the demo may take."""


@dataclass(frozen=True)
class Chain:
    """The stack after a demo.

    Attributes:
        scraped: HOST:PORT of what Prometheus gets the metrics from.
        told: What the demo said.
        sessions: Their ids, in order.

    """

    jaeger: Jaeger
    prometheus: str
    hook: Receiver
    gateway: Collector
    scraped: tuple[str, str]
    told: str
    sessions: list[str]

    async def traces(self, **tags: str) -> list[Any]:
        """Search Jaeger for the traces with a span that has these attributes; wait for one."""
        wanted = json.dumps({name.replace("__", "."): value for name, value in tags.items()})

        async def look() -> list[Any]:
            url = f"{self.jaeger.url}/api/traces"
            found = await fetch(url, service=SERVICE, tags=wanted, limit=100, lookback="1h")
            return list(found["data"]) if found else []

        return await wait_until(look, f"trace with {wanted}")

    async def query(self, promql: str) -> list[Any]:
        """Ask Prometheus; wait until it has something to say."""

        async def look() -> list[Any]:
            found = await fetch(f"{self.prometheus}/api/v1/query", query=promql)
            return list(found["data"]["result"])

        return await wait_until(look, f"result of {promql}")


def prometheus_config(folder: Path, places: dict[str, str]) -> Path:
    """Return stack/prometheus.yml with the addresses of here, in a hurry; the rules are at once."""
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for path in (ROOT / "dashboards" / "rules").glob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                rule["for"] = "0s"
        (rules / path.name).write_text(yaml.safe_dump(document))
    text = (ROOT / "stack" / "prometheus.yml").read_text()
    for place, address in places.items():
        assert place in text
        text = text.replace(place, address)
    text = re.sub(r"_interval: 15s", "_interval: 1s", text)
    config = folder / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/rules", str(rules)))
    return config


def alertmanager_config(folder: Path, hook: str) -> Path:
    """Return stack/alertmanager.yml with a receiver, in a hurry."""
    document = yaml.safe_load((ROOT / "stack" / "alertmanager.yml").read_text())
    document["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    (receiver,) = document["receivers"]
    receiver["webhook_configs"] = [{"url": hook, "send_resolved": False}]
    config = folder / "alertmanager.yml"
    config.write_text(yaml.safe_dump(document))
    return config


async def demo(folder: Path, otlp: str) -> str:
    """Run `debbie demo`; return what it said."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    process = await asyncio.create_subprocess_exec(
        *command("demo", "--speed", SPEED),
        env=environment(folder, **variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEMO):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = out.decode()
    assert process.returncode == 0, told
    assert re.search(r"\d+ spans delivered to http", told), told
    return told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    port = free_port()  # Prometheus and Jaeger each ask the other's side
    async with contextlib.AsyncExitStack() as stack:
        hook = await stack.enter_async_context(receiving())
        alerts = await stack.enter_async_context(
            alertmanager(folder / "am", alertmanager_config(folder, hook.url))
        )
        shown = await stack.enter_async_context(
            jaeger(folder / "jaeger", f"http://127.0.0.1:{port}")
        )
        gateway = Collector(
            "GATEWAY",
            folder / "gateway",
            variables={
                "TRACES_ENDPOINT": shown.otlp,
                "GATEWAY_SHARE": "100",
                "GATEWAY_FLUSH_INTERVAL": "1s",
            },
        )
        agent = Collector("AGENT", folder / "agent", variables={"GATEWAY_ENDPOINT": gateway.grpc})
        await stack.enter_async_context(gateway.running())
        await stack.enter_async_context(agent.running())
        places = {
            "agent:8889": agent.metrics,
            "agent:8888": f"127.0.0.1:{agent.ports['SELF']}",
            "gateway:8890": gateway.metrics,
            "gateway:8891": f"127.0.0.1:{gateway.ports['SELF']}",
            "alertmanager:9093": alerts.removeprefix("http://"),
        }
        config = prometheus_config(folder / "config", places)
        measured = await stack.enter_async_context(prometheus(folder / "prometheus", config, port))
        told = await demo(folder / "data", f"http://{agent.grpc}")
        sessions = re.findall(r"Session started: (\S+)", told)
        scraped = agent.metrics, gateway.metrics
        yield Chain(shown, measured, hook, gateway, scraped, told, sessions)


def tags(span: Any) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def events(span: Any) -> set[str]:
    return {
        field["value"] for log in span["logs"] for field in log["fields"] if field["key"] == "event"
    }


def named(trace: Any, start: str) -> list[Any]:
    return [span for span in trace["spans"] if span["operationName"].startswith(start)]


def references(span: Any, kind: str) -> set[str]:
    return {ref["spanID"] for ref in span["references"] if ref["refType"] == kind}


# -- Jaeger ---------------------------------------------------------------------------------------


async def test_jaeger_lists_the_service_and_its_operations(chain: Chain) -> None:
    await chain.traces(session__id=chain.sessions[0])
    services = await fetch(f"{chain.jaeger.url}/api/services")
    assert services["data"] == [SERVICE]
    found = await fetch(f"{chain.jaeger.url}/api/services/{SERVICE}/operations")
    assert {"startSession", "execute_tool list_rfcs"} <= set(found["data"])


async def test_jaeger_shows_a_turn_with_its_calls_and_tools(chain: Chain) -> None:
    traces = await chain.traces(session__id=chain.sessions[0])
    turns = [trace for trace in traces if named(trace, "invoke_agent ")]
    assert len(turns) == 5
    (read,) = (trace for trace in turns if named(trace, "execute_tool read_rfc"))
    (root,) = named(read, "invoke_agent ")
    others = [span for span in read["spans"] if span is not root]
    assert {span["operationName"] for span in others} >= {"StreamingUpdate"}
    assert all(references(span, "CHILD_OF") == {root["spanID"]} for span in others)
    assert all(tags(span)["session.id"] == chain.sessions[0] for span in read["spans"])
    assert tags(root)["span.kind"] == "server"


async def test_jaeger_shows_the_links_between_turns_and_to_their_session(chain: Chain) -> None:
    traces = await chain.traces(session__id=chain.sessions[0])
    by_id = {span["spanID"]: span for trace in traces for span in trace["spans"]}
    roots = sorted(
        (span for trace in traces for span in named(trace, "invoke_agent ")),
        key=lambda span: int(span["startTime"]),
    )
    linked = [references(root, "FOLLOWS_FROM") for root in roots]
    (start,) = (s for s in by_id.values() if s["operationName"] == semconv.SPAN_SESSION_START)
    assert all(start["spanID"] in ids for ids in linked)
    for before, ids in zip(roots, linked[1:], strict=False):
        assert before["spanID"] in ids


async def test_jaeger_finds_errors(chain: Chain) -> None:
    failed = await chain.traces(error="true")
    names = {span["operationName"] for trace in failed for span in trace["spans"]}
    assert "session.export" in names


@pytest.mark.parametrize("alert", ["session_stall", "tool_loop", "high_error_rate"])
async def test_jaeger_finds_turns_by_their_alert(chain: Chain, alert: str) -> None:
    traces = await chain.traces(**{semconv.ALERT_TYPE: alert})
    shown = [span for trace in traces for span in named(trace, f"debbie.alert {alert}")]
    assert shown
    assert all(semconv.EVENT_ALERT in events(span) for span in shown)


async def test_jaeger_finds_turns_by_the_intervention(chain: Chain) -> None:
    traces = await chain.traces(**{semconv.INTERVENTION_STRATEGY: "prompt_injection"})
    spans = [span for trace in traces for span in trace["spans"]]
    attempts = [s for s in spans if s["operationName"].startswith("debbie.intervention ")]
    told = {name for span in attempts for name in events(span)}
    assert {semconv.EVENT_ALERT, semconv.EVENT_ATTEMPT} <= told
    recovered = [s for s in spans if s["operationName"] == semconv.SPAN_RECOVERY]
    assert recovered
    ids = {span["spanID"] for span in attempts}
    for span in recovered:
        assert semconv.EVENT_OUTCOME in events(span)
        assert references(span, "FOLLOWS_FROM") & ids
        assert tags(span)[semconv.INTERVENTION_RESULT]


async def test_jaegers_monitor_tab_has_what_the_gateway_counts(chain: Chain) -> None:
    url = f"{chain.jaeger.url}/api/metrics"

    async def calls() -> list[Any]:
        found = await fetch(f"{url}/calls", service=SERVICE, lookback=600_000, step=5_000)
        return [m for m in (found or {}).get("metrics", []) if m["metricPoints"]]

    assert await wait_until(calls, "calls in Jaeger's monitor")
    latencies = await fetch(f"{url}/latencies", service=SERVICE, quantile="0.95", step=5_000)
    assert latencies["type"] == "GAUGE"


# -- Prometheus -----------------------------------------------------------------------------------


async def test_prometheus_reaches_all_that_it_scrapes(chain: Chain) -> None:
    found = await chain.query("up")
    assert {series["metric"]["job"] for series in found} == {"debbie", "spans", "collectors"}
    assert {series["value"][1] for series in found} == {"1"}


@pytest.mark.parametrize(
    "metric",
    [
        "debbie_messages_total",
        "debbie_turn_duration_seconds_count",
        "debbie_alerts_total",
        "debbie_interventions_total",
        "debbie_recovery_time_seconds_count",
    ],
)
async def test_prometheus_has_the_metrics_of_the_proxy(chain: Chain, metric: str) -> None:
    found = await chain.query(f'{metric}{{service_name="{SERVICE}"}}')
    assert all(series["metric"]["service_instance_id"] for series in found)
    assert sum(float(series["value"][1]) for series in found) > 0


async def test_prometheus_has_what_is_counted_of_the_spans(chain: Chain) -> None:
    turns = 'sum(traces_span_metrics_calls_total{span_name=~"invoke_agent .*"})'
    # Both come in the end to the same number; the spans go a longer way.
    assert await chain.query(f"{turns} == sum(debbie_turn_duration_seconds_count)")
    counted = await chain.query("traces_span_metrics_events_total")
    assert "session_stall" in {series["metric"].get("debbie_alert_type") for series in counted}


async def test_prometheus_3_would_get_the_same_names(chain: Chain) -> None:
    accepts = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,text/plain;q=0.5"
    async with httpx.AsyncClient(trust_env=False, headers={"Accept": accepts}) as client:
        texts = [(await client.get(f"http://{at}/metrics")).text for at in chain.scraped]
    names = {name for text in texts for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}
    assert {"debbie_turn_duration_seconds", "traces_span_metrics_calls"} <= names
    assert {name for name in names if not re.fullmatch(r"[a-z0-9_]+", name)} == set()


@pytest.mark.parametrize(
    "metric", ["debbie_turn_duration_seconds", "traces_span_metrics_duration_seconds"]
)
async def test_an_exemplar_leads_from_a_metric_to_its_trace_in_jaeger(
    chain: Chain, metric: str
) -> None:
    async def look() -> list[Any]:
        found = await fetch(
            f"{chain.prometheus}/api/v1/query_exemplars",
            query=f'{metric}_bucket{{service_name="{SERVICE}"}}',
            start=0,
            end=1 << 33,
        )
        return list(found["data"])

    found = await wait_until(look, "exemplars")
    ids = {exemplar["labels"]["trace_id"] for s in found for exemplar in s["exemplars"]}
    for trace_id in ids:
        url = f"{chain.jaeger.url}/api/traces/{trace_id}"
        trace = await wait_until(partial(fetch, url), f"trace {trace_id}")
        assert metric.startswith("traces_") or named(trace["data"][0], "invoke_agent ")


async def test_a_process_in_jaeger_leads_to_its_debbie_in_prometheus(chain: Chain) -> None:
    (trace, *_) = await chain.traces(session__id=chain.sessions[0])
    (process,) = trace["processes"].values()
    (instance,) = (t["value"] for t in process["tags"] if t["key"] == "service.instance.id")
    found = await chain.query(f'debbie_process_running{{service_instance_id="{instance}"}}')
    assert found[0]["metric"]["service_name"] == semconv.SERVICE_DEBBIE


# -- alerts ---------------------------------------------------------------------------------------


async def test_a_rule_that_fires_reaches_the_webhook(chain: Chain) -> None:
    fired = await chain.query('ALERTS{alertstate="firing",alertname="DebbieTurnsFailing"}')
    assert fired[0]["metric"]["service_name"] == SERVICE

    async def arrived() -> list[Any]:
        alerts = [alert for got in chain.hook.got for alert in got.json["alerts"]]
        return [a for a in alerts if a["labels"]["alertname"] == "DebbieTurnsFailing"]

    alert = (await wait_until(arrived, "alert at the webhook"))[0]
    assert alert["status"] == "firing"
    assert SERVICE in alert["annotations"]["summary"]
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    assert page.endswith("runbooks.md")
    assert section == "debbieturnsfailing"


async def test_alerts_and_interventions_are_log_events_at_the_gateway(chain: Chain) -> None:
    async def look() -> set[str]:
        if not chain.gateway.events.exists():
            return set()
        names = set(re.findall(r'"eventName":"([a-z.]+)"', chain.gateway.events.read_text()))
        wanted = {semconv.EVENT_ALERT, semconv.EVENT_ATTEMPT, semconv.EVENT_OUTCOME}
        return names if wanted <= names else set()

    assert await wait_until(look, "log events")


async def test_nothing_was_refused_on_the_way(chain: Chain) -> None:
    url = f"http://127.0.0.1:{chain.gateway.ports['SELF']}/metrics"
    delivered = re.search(r"(\d+) spans delivered", chain.told)
    assert delivered is not None
    await scrape.wait_for(
        url, int(delivered[1]), "otelcol_receiver_accepted_spans", receiver="otlp"
    )
    assert await scrape.total(url, "otelcol_receiver_refused_spans") == 0
    assert await scrape.total(url, "otelcol_exporter_enqueue_failed_spans") == 0
