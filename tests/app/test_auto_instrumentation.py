"""Programs that know nothing of Debbie, run by `opentelemetry-instrument`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.command import LIMIT, environment
from tests.telemetry.collector import HttpCollector, http_collector

HANDLER = """
import asyncio, json

async def handler(connection):
    async for message in connection:
        asked = json.loads(message)
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}))
"""

ASYNCIO = (
    HANDLER
    + """
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

async def main():
    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as connection:
            for number in range(3):
                await connection.send(json.dumps(
                    {"jsonrpc": "2.0", "id": number, "method": "work", "params": {}}))
                print(await connection.recv())

asyncio.run(main())
"""
)

THREADS_AFTER_MAIN = """
import json, threading
from websockets.sync.client import connect
from websockets.sync.server import serve

def handler(connection):
    for message in connection:
        asked = json.loads(message)
        connection.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}))

def work():
    with serve(handler, "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        port = server.socket.getsockname()[1]
        with connect(f"ws://127.0.0.1:{port}/", proxy=None) as connection:
            for number in range(2):
                connection.send(json.dumps(
                    {"jsonrpc": "2.0", "id": number, "method": "work", "params": {}}))
                print(connection.recv())
                begun.set()  # Python 3.12 begins no thread after the main one
                threading.main_thread().join()
        server.shutdown()

begun = threading.Event()
threading.Thread(target=work).start()
begun.wait()
"""

PROVIDERS = """
import atexit
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

def tell():
    for span in exporter.get_finished_spans():
        print("span", span.resource.attributes["service.name"], span.name)

atexit.register(tell)
exporter = InMemorySpanExporter()
tracers = TracerProvider(resource=Resource({"service.name": "own"}))
tracers.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
"""

LEGACY = (
    HANDLER
    + """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from websockets.legacy.client import connect
    from websockets.legacy.server import serve

async def main():
    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/") as connection:
            await connection.send('{"jsonrpc": "2.0", "id": 7, "method": "old"}')
            print(await connection.recv())

asyncio.run(main())
"""
)


def run(
    tmp_path: Path, program: str, collector: HttpCollector | None = None, **variables: str
) -> list[str]:
    """Run a program to its end; return the lines that it wrote."""
    app = tmp_path / "app.py"
    app.write_text(program)
    if collector is not None:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.port}"
        variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    command = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable]
    ended = subprocess.run(
        [*command, str(app)],
        env=environment(tmp_path / "data", PYTHONWARNINGS="", **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert not ended.stderr, ended.stderr
    assert ended.returncode == 0
    return ended.stdout.splitlines()


def names(collector: HttpCollector) -> list[str]:
    return sorted(name for name in collector.received.span_names if not name.startswith("debbie."))


def test_a_program_of_asyncio(tmp_path: Path) -> None:
    with http_collector() as collector:
        lines = run(tmp_path, ASYNCIO, collector)
        assert [json.loads(line)["id"] for line in lines] == [0, 1, 2]
        assert names(collector) == ["work"] * 6
        assert collector.received.metrics


def test_threads_that_go_on_after_the_main_thread(tmp_path: Path) -> None:
    with http_collector() as collector:
        lines = run(tmp_path, THREADS_AFTER_MAIN, collector)
        assert [json.loads(line)["id"] for line in lines] == [0, 1]
        assert names(collector) == ["work"] * 4


def test_providers_that_the_program_sets_up(tmp_path: Path) -> None:
    with http_collector() as collector:
        lines = run(tmp_path, PROVIDERS + ASYNCIO, collector)
        assert lines.count("span own work") == 6
        assert names(collector) == []


def test_the_legacy_package_is_linked_when_it_is_imported(tmp_path: Path) -> None:
    with http_collector() as collector:
        run(tmp_path, LEGACY, collector, DEBBIE_DIALECT="mcp")
        assert names(collector) == ["old", "old"]
        (service,) = {
            attribute.value.string_value
            for request in collector.received.traces
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }
        assert service == "mcp-agent"


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with http_collector() as collector:
        run(tmp_path, ASYNCIO, collector, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="debbie")
        assert names(collector) == []
    assert not (tmp_path / "data").exists()
