"""A real Prometheus, filled by a real demo through a real collector, and questions to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.dashboards.model import DIRECTORY, Asked, filled_in
from tests.stack.peers import Collector, prometheus, until
from tests.telemetry.collector import Received, grpc_collector

SCRAPE = 0.5
"""Seconds between two scrapes, and between two exports of the proxy's metrics."""
INTERVAL = "4s"
"""What `$__rate_interval` is then: Grafana takes four times the scrapes at least."""
ROOT = Path(__file__).parents[2]

_CONFIG = """
global: {{scrape_interval: {interval}ms, evaluation_interval: {interval}ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: debbie
    honor_labels: true
    static_configs: [{{targets: ["{target}"]}}]
"""


@dataclass(frozen=True)
class Filled:
    """A Prometheus after a demo.

    Attributes:
        url: Its own.
        begun, ended: When the demo did, in seconds since the epoch.
        spans: What the collector passed on meanwhile.
        otlp: URL of the collector.

    """

    url: str
    begun: float
    ended: float
    spans: Received
    otlp: str

    async def ask(self, asked: Asked) -> list[dict[str, Any]]:
        """Return the series that a query yields, over the demo or at its end."""
        span = f"{round(self.ended - self.begun) + 1}s"
        expression = filled_in(asked.expression, interval=INTERVAL, span=span)
        if asked.instant:
            return await self.series("query", query=expression, time=self.ended)
        return await self.series(
            "query_range", query=expression, start=self.begun, end=self.ended, step=SCRAPE
        )

    async def series(self, what: str, **parameters: str | float) -> list[dict[str, Any]]:
        """Return the series that a query yields."""
        found: list[dict[str, Any]] = (await self.get(what, **parameters))["result"]
        return found

    async def get(self, what: str, **parameters: str | float) -> Any:
        """Return what Prometheus' API answers; fail with its words."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(f"{self.url}/api/v1/{what}", params=parameters)
        told = answer.json()
        assert told["status"] == "success", f"{told.get('error')}: {parameters}"
        return told["data"]


@contextlib.asynccontextmanager
async def filled(folder: Path, *, speed: float) -> AsyncIterator[Filled]:
    """Run `debbie demo` before a collector that Prometheus scrapes.

    Args:
        folder: For everybody's files.
        speed: Of the demo.

    """
    with grpc_collector() as gateway:
        agent = Collector(
            "AGENT",
            folder / "agent",
            variables={
                "GATEWAY_ENDPOINT": f"127.0.0.1:{gateway.port}",
                "AGENT_FLUSH_TIMEOUT": "100ms",
            },
        )
        config = folder / "prometheus.yml"
        interval = round(SCRAPE * 1000)
        rules = folder / "rules.yaml"
        committed = (DIRECTORY / "rules" / "debbie.yaml").read_text("utf-8")
        rules.write_text(committed.replace("interval: 30s", f"interval: {interval}ms"))
        config.write_text(_CONFIG.format(interval=interval, rules=rules, target=agent.metrics))
        async with agent.running(), prometheus(folder / "prometheus", config) as url:
            otlp = f"grpc://{agent.grpc}"
            it = Filled(url, time.time(), time.time(), gateway.received, otlp)
            # It looks for its targets every five seconds only.
            await until(lambda: it.series("query", query="up == 1"), "first scrape")
            begun = time.time()
            await _demo(folder, agent, speed)
            # Her last word: what came before it is in Prometheus too.
            await until(lambda: it.series("query", query="debbie_process_running == 0"), "farewell")
            again = f"timestamp(up) > {time.time()}"
            await until(lambda: it.series("query", query=again), "another scrape")
            yield Filled(url, begun, time.time(), gateway.received, otlp)


async def _demo(folder: Path, agent: Collector, speed: float) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "debbie_otel", "demo", "--speed", f"{speed:g}"),
        cwd=folder,
        env=_environment(folder, agent),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(120):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, told.decode(errors="replace")[-4000:]


def _environment(folder: Path, agent: Collector) -> Mapping[str, str]:
    interval = str(round(SCRAPE * 1000))
    return {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "DEBBIE_"))} | {
        "PYTHONPATH": str(ROOT),
        "XDG_DATA_HOME": str(folder / "data"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{agent.grpc}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRIC_EXPORT_INTERVAL": interval,
    }
