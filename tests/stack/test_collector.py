"""The configurations in collector/, in the real collector: accepted, and doing what they say."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from debbie_otel import semconv
from tests.stack import cache, scrape
from tests.stack.peers import ROOT, Collector, Running
from tests.stack.sinks import Sink
from tests.stack.traffic import FAILS, HEALTHY, hurry, outcomes, traffic

pytestmark = pytest.mark.stack("collector")

CONFIGS = ROOT / "collector"
SCRIPT = [HEALTHY, FAILS, HEALTHY] * 3

BASE = """
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:${env:AGENT_GRPC_PORT:-4317}
exporters:
  otlp_grpc:
    endpoint: ${env:SINK:-localhost:4327}
    tls: {insecure: true}
extensions:
  health_check:
    endpoint: 127.0.0.1:${env:AGENT_HEALTH_PORT:-13133}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_grpc]}
    logs: {receivers: [otlp], exporters: [otlp_grpc]}
"""
"""Somebody's own collector, as existing.yaml finds it."""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    path = tmp_path / "yours.yaml"
    path.write_text(BASE)
    return path


def validate(*configs: Path) -> str:
    """Return what the collector has against the configurations."""
    program = cache.program("debbie-collector")
    assert program is not None
    files = [word for path in configs for word in ("--config", str(path))]
    done = subprocess.run([program, "validate", *files], capture_output=True, text=True, timeout=30)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("name", ["agent", "gateway"])
def test_the_collector_accepts_a_configuration(name: str) -> None:
    assert validate(CONFIGS / f"{name}.yaml") == ""


def test_the_collector_accepts_the_lines_for_an_existing_one(existing: Path) -> None:
    assert validate(existing, CONFIGS / "existing.yaml") == ""


def test_the_collector_would_not_accept_a_misspelt_setting(tmp_path: Path) -> None:
    wrong = (CONFIGS / "agent.yaml").read_text().replace("max_elapsed_time", "max_elapsed")
    (tmp_path / "wrong.yaml").write_text(wrong)
    assert "max_elapsed" in validate(tmp_path / "wrong.yaml")


def test_every_variable_has_a_default() -> None:
    for path in CONFIGS.glob("*.yaml"):
        for variable in re.findall(r"\$\{([^}]*)\}", path.read_text()):
            assert re.fullmatch(r"env:[A-Z_]+:-.+", variable), (path.name, variable)


def test_the_readme_tells_every_variable_with_its_default() -> None:
    readme = (CONFIGS / "README.md").read_text()
    told: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", readme, re.MULTILINE):
        told |= zip(re.findall(r"[A-Z_]+", names), defaults.strip().split(", "), strict=True)
    real = {
        variable: default
        for path in CONFIGS.glob("*.yaml")
        for variable, default in re.findall(r"\$\{env:([A-Z_]+):-([^}]*)\}", path.read_text())
    }
    assert told == real


def test_spans_are_counted_alike_and_in_the_buckets_of_our_own_durations() -> None:
    """Elsewhere the buckets of span_metrics end at 15 s, and a turn takes up to hours."""
    gateway, existing = (
        connector
        for name in ("gateway", "existing")
        for connector in yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())[
            "connectors"
        ].values()
    )
    alike = ("namespace", "histogram", "dimensions", "calls_dimensions", "exemplars", "events")
    assert {key: gateway[key] for key in alike} == {key: existing[key] for key in alike}
    written = gateway["histogram"]["explicit"]["buckets"]
    own = sorted({*semconv.DURATION_BUCKETS, *semconv.TURN_BUCKETS})
    assert written == [f"{s:g}s" if s >= 1 else f"{s * 1000:g}ms" for s in own]


def test_no_collector_listens_beyond_this_machine_unless_told_to() -> None:
    for path in CONFIGS.glob("*.yaml"):
        for endpoint in re.findall(r"(?:endpoint|host): (.*)", path.read_text()):
            address = re.sub(r"\$\{env:[A-Z_]+:-([^}]*)\}", r"\1", endpoint)
            assert address.startswith(("127.0.0.1", "localhost")), (path.name, endpoint)


def test_the_manifest_and_the_image_are_of_one_version() -> None:
    manifest = yaml.safe_load((CONFIGS / "builder.yaml").read_text())
    modules = [m["gomod"] for part in manifest.values() if isinstance(part, list) for m in part]
    assert {module.split()[1] for module in modules} == {f"v{manifest['dist']['version']}"}


async def accepted(collector: Collector, count: int) -> None:
    """Wait until a collector has taken that many spans since it was started."""
    url = f"http://127.0.0.1:{collector.ports['SELF']}/metrics"
    await scrape.wait_for(url, count, "otelcol_receiver_accepted_spans", receiver="otlp")


async def test_nothing_is_lost_when_an_agent_is_killed(tmp_path: Path) -> None:
    sink = Sink()
    agent = Collector("AGENT", tmp_path / "agent", variables={"GATEWAY_ENDPOINT": sink.endpoint})
    async with contextlib.AsyncExitStack() as stack:
        async with traffic(f"grpc://{agent.grpc}", tmp_path, SCRIPT) as told:
            async with agent.running() as first:
                await told.talk(3)
                await accepted(agent, 3)
                await first.kill()  # what it had taken is on disk: the sink is not there yet
            await told.talk(3)  # and what comes now waits in the proxy
            await stack.enter_async_context(agent.running())
            stack.enter_context(sink.open())
            await told.talk(3)
        spans = await sink.wait_for(told.spans)
    assert outcomes(spans.turns) == ["completed", "failed", "completed"] * 3
    assert spans.orphans == []
    assert {span.resource["os.type"] for span in spans.all} == {"linux"}


async def test_nothing_is_lost_when_agent_and_gateway_are_killed(tmp_path: Path) -> None:
    sink = Sink()
    gateway = Collector(
        "GATEWAY",
        tmp_path / "gateway",
        variables={"TRACES_ENDPOINT": sink.endpoint, "GATEWAY_SHARE": "100"},
    )
    agent = Collector("AGENT", tmp_path / "agent", variables={"GATEWAY_ENDPOINT": gateway.grpc})
    async with contextlib.AsyncExitStack() as stack:

        async def start(collector: Collector) -> Running:
            return await stack.enter_async_context(collector.running())

        async with traffic(agent.http, tmp_path, SCRIPT) as told:
            front, back = await start(agent), await start(gateway)
            await told.talk(3)
            await waiting(gateway, 3)
            await back.kill()
            await told.talk(3)
            await accepted(agent, 6)
            await front.kill()
            await told.talk(3)
            await start(gateway)
            await start(agent)
            stack.enter_context(sink.open())
        spans = await sink.wait_for(told.spans)
    assert outcomes(spans.turns) == ["completed", "failed", "completed"] * 3
    assert spans.orphans == []


async def waiting(gateway: Collector, count: int) -> None:
    """Wait until that many requests are on a gateway's disk, on their way out."""
    url = f"http://127.0.0.1:{gateway.ports['SELF']}/metrics"
    await scrape.wait_for(url, count, "otelcol_exporter_queue_size", exporter="otlp_grpc/traces")


async def test_an_existing_collector_goes_on_as_before_and_has_our_metrics(
    existing: Path, tmp_path: Path
) -> None:
    sink = Sink()
    yours = Collector(
        "AGENT",
        tmp_path / "yours",
        existing,
        CONFIGS / "existing.yaml",
        variables={"SINK": sink.endpoint, "DEBBIE_FLUSH_INTERVAL": "1s"},
    )
    yours.variables["DEBBIE_METRICS_ENDPOINT"] = yours.metrics
    url = f"http://{yours.metrics}/metrics"
    with sink.open():
        async with yours.running():
            async with traffic(f"grpc://{yours.grpc}", tmp_path, SCRIPT) as told:
                await told.talk(3)
                agent = "aiwhisperer-agent"
                await scrape.wait_for(
                    url, 3, "debbie_turn_duration_seconds_count", service_name=agent
                )
            spans = await sink.wait_for(told.spans)
            await scrape.wait_for(
                url, len(spans.all), "traces_span_metrics_calls_total", service_name=agent
            )
    assert outcomes(spans.turns) == ["completed", "failed", "completed"]
