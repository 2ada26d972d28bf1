"""Debbie's own metrics, as a real OTLP receiver gets them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.metrics import CallbackOptions

from debbie_otel import semconv
from debbie_otel.telemetry.export.pipeline import Pipeline
from debbie_otel.telemetry.health import Connections, ExportState, Health, LoopProbe
from tests.integration.proxied import config, proxied, raw_upstream, wire
from tests.integration.received import Metrics
from tests.telemetry.collector import Received, grpc_collector, http_collector
from tests.telemetry.pipelines import begun, clean, end_span, settings
from tests.transports.raw import REQUEST, connect

__all__ = ["clean"]

ASKED = CallbackOptions()
UNITS = {
    semconv.METRIC_PROCESS_CPU: "s",
    semconv.METRIC_PROCESS_MEMORY: "By",
    semconv.METRIC_PROCESS_RUNNING: "{process}",
    semconv.METRIC_PROCESS_UPTIME: "s",
    semconv.METRIC_LOOP_LAG: "s",
    semconv.METRIC_EXPORT_QUEUE: "{span}",
    semconv.METRIC_EXPORT_CAPACITY: "{span}",
    semconv.METRIC_EXPORT_SPANS: "{span}",
    semconv.METRIC_EXPORT_FAILURES: "{export}",
    semconv.METRIC_SPOOL_SIZE: "By",
    semconv.METRIC_CONNECTIONS: "{connection}",
    semconv.METRIC_CONNECTIONS_ACTIVE: "{connection}",
}


def outcomes(metrics: Metrics) -> dict[Any, int]:
    return {
        key[0]: n for key, n in metrics.by("debbie.export.spans", "debbie.export.outcome").items()
    }


def level(metrics: Metrics, name: str) -> float:
    (value,) = metrics.sums[name].values()
    return value


async def stopped(pipeline: Pipeline) -> None:
    await asyncio.to_thread(pipeline.shutdown)


async def test_she_reports_before_the_first_agent_is_there(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        pipeline = begun(settings(tmp_path, otlp=f"grpc://127.0.0.1:{collector.port}"))
        pipeline.report_health(asyncio.get_running_loop())
        pipeline.report_health(asyncio.get_running_loop())  # as a second debugger would
        assert await asyncio.to_thread(pipeline.flush, 5)
        metrics = Metrics(collector.received.metrics)
        await stopped(pipeline)
        farewell = Metrics(collector.received.metrics)
    assert metrics.units == UNITS
    assert {found["service.name"] for found in metrics.resources} == {"debbie"}
    assert metrics.resources[0]["service.instance.id"]
    assert level(metrics, "debbie.process.running") == 1
    assert level(farewell, "debbie.process.running") == 0  # an end that was asked for
    assert level(metrics, "debbie.process.memory.usage") > 10_000_000
    assert set(metrics.by("debbie.process.cpu.time", "cpu.mode")) == {("user",), ("system",)}
    assert metrics.total("debbie.process.cpu.time") > 0
    assert 0 <= level(metrics, "debbie.process.uptime") <= level(farewell, "debbie.process.uptime")
    assert outcomes(metrics) == {"delivered": 0, "dropped": 0, "spooled": 0}


async def test_a_name_that_the_user_chose_is_hers_too(tmp_path: Path) -> None:
    with http_collector() as collector:
        chosen = settings(
            tmp_path, otlp=f"http://127.0.0.1:{collector.port}", service_name="my-agent"
        )
        pipeline = begun(chosen)
        pipeline.report_health(asyncio.get_running_loop())
        await stopped(pipeline)
        metrics = Metrics(collector.received.metrics)
    assert {found["service.name"] for found in metrics.resources} == {"my-agent"}


async def test_what_became_of_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered, repeated, dropped and spooled, while the receiver takes metrics and no spans."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with grpc_collector() as traces, grpc_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{traces.port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        pipeline = begun(settings(tmp_path))
        pipeline.report_health(asyncio.get_running_loop())
        end_span(pipeline, 0)
        await asyncio.to_thread(traces.received.wait_for_spans, 1)
        traces.refuse_with = grpc.StatusCode.UNAVAILABLE
        for number in range(1, 40):
            end_span(pipeline, number)
        received = traces.received
        refused = len(received.traces) + 2
        await asyncio.to_thread(received.wait, lambda: len(received.headers) >= refused)
        metrics = await collected(pipeline, collector.received)
        assert level(metrics, "debbie.export.queue.capacity") == 8
        assert 6 <= level(metrics, "debbie.export.queue.size") <= 8  # two may be under way
        assert outcomes(metrics)["delivered"] == 1
        assert outcomes(metrics)["dropped"] >= 25
        assert metrics.total("debbie.export.failures") >= 1
        await asyncio.to_thread(pipeline.shutdown, 1.0)
    health = Health(ExportState, tmp_path / "spool")
    sizes = {
        observation.attributes["debbie.export.signal"]: observation.value
        for observation in health._spool_sizes(ASKED)
        if observation.attributes
    }
    assert sizes["traces"] == (tmp_path / "spool" / "traces.jsonl").stat().st_size > 0
    assert sizes["logs"] == 0


async def collected(pipeline: Pipeline, received: Received) -> Metrics:
    """Collect and export once; spans that are stuck do not matter."""
    before = len(received.metrics)
    flushing = asyncio.create_task(asyncio.to_thread(pipeline.flush, 1))  # noqa: TID251
    await asyncio.to_thread(received.wait, lambda: len(received.metrics) > before)
    found = Metrics(received.metrics)
    await flushing
    return found


async def test_connections_of_a_proxy(tmp_path: Path) -> None:
    """One is open, a second one is one too many; of a third one the upstream does not exist."""
    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        async with raw_upstream() as (listener, url):
            chosen = config(url, tmp_path, otlp, proxy={"max_connections": 1})
            async with proxied(chosen) as it:
                async with wire(it, listener):
                    with contextlib.closing(await connect(it.tap)) as refused:
                        await refused.send(REQUEST)
                        assert b" 503 " in await refused.receive_until_end()
                    assert it.debbie.pipeline is not None
                    during = await collected(it.debbie.pipeline, collector.received)
                listener.close()
                with contextlib.closing(await connect(it.tap)) as in_vain:
                    await in_vain.send(REQUEST)
                    assert b" 502 " in await in_vain.receive_until_end()
        after = Metrics(collector.received.metrics)
    assert level(during, "debbie.connections.active") == 1
    assert level(after, "debbie.connections.active") == 0
    assert after.by("debbie.connections", "debbie.connection.outcome") == {
        ("accepted",): 2,
        ("refused",): 1,
        ("upstream_unreachable",): 1,
    }


async def test_lag_of_the_event_loop() -> None:
    """A look costs the reader's thread nothing; what it tells is how long the loop took."""
    loop = asyncio.get_running_loop()
    probe = LoopProbe(loop)
    await asyncio.sleep(0)
    (quick,) = probe(ASKED)  # asks anew
    assert quick.value < 1
    blocked = LoopProbe(loop)
    begun = loop.time()
    while loop.time() - begun < 0.05:  # nothing else runs meanwhile
        pass
    (waiting,) = blocked(ASKED)
    assert waiting.value >= 0.05  # no answer yet
    await asyncio.sleep(0)
    (answered,) = blocked(ASKED)
    assert answered.value >= 0.05


def test_a_loop_that_has_ended_does_no_harm() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    (observed,) = LoopProbe(loop)(ASKED)
    assert observed.value >= 0


def test_defaults_without_a_proxy() -> None:
    assert Connections() == Connections(active=0, accepted=0, refused=0, unreachable=0)
