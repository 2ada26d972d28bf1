"""`python -m benchmarks.scale`: what one proxy emits, and what one gateway collector takes.

The proxy is put under the most that it passes on; the gateway gets spans of real sessions with new
ids, as fast as it acknowledges them. Both have a core of their own where there are two.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.bench import Middle, Settings
from benchmarks.processes import BenchError, Cores, Program, free_port, python
from benchmarks.receiver import Tally, start_grpc
from benchmarks.variants import SHAPES, Place, Variant, debbie_arguments, debbie_environment
from benchmarks.wire import METHOD
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import converse
from debbie_otel.demo.script import DEMO_MESSAGES, DEMO_TURNS

_CONFIG = Path(__file__).parents[1] / "collector" / "gateway.yaml"
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SPANS_A_REQUEST = 512  # what OpenTelemetry's batches have by default
_CONVERSATIONS = 20


@dataclass(frozen=True)
class ProxyRate:
    """A proxy under full load.

    Attributes:
        protocol: How it exports: `grpc`, or `http` with gzip.
        trips: Calls that were answered, a second.
        spans: Spans that it made, a second.
        span_bytes: Body bytes a span.
        cpu: Microseconds of CPU time a call, telemetry included.

    """

    protocol: str
    trips: float
    spans: float
    span_bytes: float
    cpu: float


@dataclass(frozen=True)
class GatewayRate:
    """A gateway under full load: spans a second, CPU microseconds a span, resident bytes."""

    spans: float
    cpu: float
    resident: int


def measure_proxy(protocol: str, seconds: float) -> ProxyRate:
    """Put a proxy under 16 connections with 16 calls of 256 bytes in flight each."""

    def environment(place: Place) -> Mapping[str, str | None]:
        compressed = {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"} if protocol == "http" else {}
        return {**debbie_environment(place), **compressed}

    variant = Variant(
        "debbie", lambda place: [sys.executable, *debbie_arguments(place)], True, environment
    )
    settings = Settings(seconds=seconds)
    with _bench() as (stack, cores, directory):
        upstream = free_port()
        server = Program(
            "the echo server", python("benchmarks.servers", upstream), directory / "server.log"
        )
        stack.callback(server.stop)
        server.wait_listening(upstream)
        middle = Middle(variant, free_port())
        middle.start(stack, cores, upstream, directory, protocol)
        assert middle.receiver is not None
        measured = asyncio.run(middle.measure(SHAPES[0], settings))
        counted = middle.receiver.ask("count")
    assert measured.cpu_us is not None
    return ProxyRate(
        protocol,
        measured.rate,
        measured.rate * counted["spans"] / counted["calls"],
        counted["bytes"]["traces"] / counted["spans"],
        measured.cpu_us,
    )


def record_sessions() -> list[ExportTraceServiceRequest]:
    """Return what a proxy exports of the demo's conversation, many times over."""
    tally = Tally(METHOD)
    port = free_port()
    server = start_grpc(port, tally)
    try:
        asyncio.run(_converse(f"http://127.0.0.1:{port}"))
    finally:
        server.stop(None).wait(5)
    return [ExportTraceServiceRequest.FromString(export.body) for export in tally.take()]


async def _converse(receiver: str) -> None:
    with _bench() as (stack, _, directory):
        async with ScriptedAgent(DEMO_TURNS, speed=1000) as agent:
            port = free_port()
            place = Place(port, 0, directory, receiver)
            arguments = debbie_arguments(place)
            arguments[arguments.index("--upstream") + 1] = agent.url
            arguments[arguments.index("--dialect") + 1] = "auto"
            proxy = Program(
                "debbie", [sys.executable, *arguments], directory / "log", debbie_environment(place)
            )
            stack.callback(proxy.stop)
            await asyncio.to_thread(proxy.wait_listening, port)
            path = "/" + agent.url.split("/", 3)[3] if agent.url.count("/") > 2 else "/"
            for _ in range(_CONVERSATIONS):
                await converse(f"ws://127.0.0.1:{port}{path}", DEMO_MESSAGES)


def multiply(recorded: Sequence[ExportTraceServiceRequest], spans: int) -> list[bytes]:
    """Return requests with about so many spans: the recorded ones with ever new ids."""
    made: list[bytes] = []
    total = 0
    while total < spans:
        key = random.randbytes(16)
        for request in recorded:
            copy = ExportTraceServiceRequest()
            copy.CopyFrom(request)
            total += _rename(copy, key)
            made += _split(copy)
    return made


def _rename(request: ExportTraceServiceRequest, key: bytes) -> int:
    count = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            count += len(scope.spans)
            for span in scope.spans:
                span.trace_id = _xor(span.trace_id, key)
                for link in span.links:
                    link.trace_id = _xor(link.trace_id, key)
    return count


def _xor(identifier: bytes, key: bytes) -> bytes:
    return (int.from_bytes(identifier, "big") ^ int.from_bytes(key, "big")).to_bytes(16, "big")


def _split(request: ExportTraceServiceRequest) -> Iterator[bytes]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for at in range(0, len(scope.spans), _SPANS_A_REQUEST):
                part = ExportTraceServiceRequest()
                into = part.resource_spans.add()
                into.resource.CopyFrom(resource.resource)
                spans = into.scope_spans.add()
                spans.scope.CopyFrom(scope.scope)
                spans.spans.extend(scope.spans[at : at + _SPANS_A_REQUEST])
                yield part.SerializeToString()


def measure_gateway(collector: str, requests: Sequence[bytes], spans: int) -> GatewayRate:
    """Send requests to a gateway collector, eight at a time, until all are acknowledged."""
    names = ("GRPC", "HTTP", "PEER", "HEALTH", "METRICS", "SELF")
    ports = {name: free_port() for name in names}
    with _bench() as (stack, cores, directory):
        sink = free_port()
        receiver = Program(
            "the trace store", python("benchmarks.receiver", "grpc", sink, METHOD),
            directory / "sink.log", talks=True,
        )  # fmt: skip
        stack.callback(receiver.stop)
        receiver.wait_listening(sink)
        environment = {f"GATEWAY_{name}_PORT": str(port) for name, port in ports.items()} | {
            "GATEWAY_PEERS": f'["127.0.0.1:{ports["PEER"]}"]',
            "GATEWAY_STORAGE": str(directory / "storage"),
            "GATEWAY_EVENTS": str(directory / "events.jsonl"),
            "GATEWAY_DECISION_WAIT_AFTER_ROOT": "2s",
            "TRACES_ENDPOINT": f"127.0.0.1:{sink}",
        }
        with cores.as_middle():
            gateway = Program(
                "the gateway", [collector, "--config", str(_CONFIG)],
                directory / "gateway.log", environment,
            )  # fmt: skip
        stack.callback(gateway.stop)
        gateway.wait_listening(ports["GRPC"])
        gateway.wait_listening(ports["PEER"])
        before, begun = gateway.cpu_seconds(), time.monotonic()
        _send(f"127.0.0.1:{ports['GRPC']}", requests)
        seconds = time.monotonic() - begun
        resident = gateway.resident_bytes()
        _settle(gateway)
        return GatewayRate(
            spans / seconds, (gateway.cpu_seconds() - before) / spans * 1e6, resident
        )


def _send(address: str, requests: Sequence[bytes]) -> None:
    with grpc.insecure_channel(address) as channel:
        export: Any = channel.unary_unary(_EXPORT)
        open_calls: list[Any] = []
        for body in requests:
            if len(open_calls) == 8:
                open_calls.pop(0).result(30)
            open_calls.append(export.future(body, timeout=30, wait_for_ready=True))
        for call in open_calls:
            call.result(30)


def _settle(gateway: Program) -> None:
    """Wait until what was acknowledged has been judged and passed on: no more CPU time is used."""
    used = gateway.cpu_seconds()
    for _ in range(60):
        time.sleep(0.5)
        now = gateway.cpu_seconds()
        if now - used < 0.02:
            return
        used = now


@contextlib.contextmanager
def _bench() -> Iterator[tuple[contextlib.ExitStack, Cores, Path]]:
    cores = Cores()
    with contextlib.ExitStack() as stack:
        stack.callback(cores.release)
        yield stack, cores, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))


def _spans_of(requests: Sequence[ExportTraceServiceRequest]) -> int:
    return sum(
        len(scope.spans)
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
    )


@click.command(help=__doc__)
@click.option("--seconds", default=5.0, show_default=True, help="Timed seconds of each proxy.")
@click.option("--spans", default=200_000, show_default=True, help="Spans for the gateway.")
@click.option("--collector", default="", help="The program; by default debbie-collector.")
def main(seconds: float, spans: int, collector: str) -> None:
    """Measure, and print what was measured."""
    click.echo(f"{os.cpu_count()} cores; load before: {os.getloadavg()[0]:.1f}")
    try:
        for protocol in ("grpc", "http"):
            rate = measure_proxy(protocol, seconds)
            click.echo(
                f"proxy, {protocol}: {rate.trips:,.0f} calls/s, {rate.spans:,.0f} spans/s, "
                f"{rate.span_bytes:.0f} bytes a span, {rate.cpu:.1f} us CPU a call"
            )
        recorded = record_sessions()
        count = _spans_of(recorded)
        bodies = [request.SerializeToString() for request in recorded]
        size = sum(map(len, bodies)) / count
        packed = sum(len(gzip.compress(body, 6)) for body in bodies) / count
        turns = _CONVERSATIONS * len(DEMO_MESSAGES)
        click.echo(
            f"sessions: {count / turns:.1f} spans a turn, {size:.0f} bytes a span, "
            f"{packed:.0f} with gzip"
        )
        program = collector or shutil.which("debbie-collector")
        if not program:
            click.echo("gateway: no debbie-collector on the PATH (--collector)")
            return
        requests = multiply(recorded, spans)
        sent = sum(_spans_of([ExportTraceServiceRequest.FromString(r)]) for r in requests)
        gateway = measure_gateway(program, requests, sent)
        click.echo(
            f"gateway: {gateway.spans:,.0f} spans/s acknowledged, {gateway.cpu:.1f} us CPU a span, "
            f"{gateway.resident / 2**20:.0f} MiB, after {sent:,} spans"
        )
    except BenchError as error:
        click.echo(f"failed: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
