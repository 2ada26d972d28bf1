"""The rig of the benchmark, never its timings: they are the machine's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from websockets.asyncio.client import connect

from benchmarks import nginx, wire
from benchmarks.bench import Settings, main, run
from benchmarks.processes import BenchError, Program, free_port, python
from benchmarks.report import Report, Round
from benchmarks.variants import VARIANTS, Shape, Variant

QUICK = Settings(seconds=0.1, warm_up=0.05, rounds=2, idle=50, export_timeout=1.0)
SHAPE = Shape(256, 2, 3)
affinity = getattr(os, "sched_getaffinity", lambda _process: None)
BY_NAME = {variant.name: variant for variant in VARIANTS}


@pytest.mark.parametrize("size", [wire.SMALLEST_MESSAGE, 125, 126, 256, 16384, 70000])
def test_messages_have_their_size_and_id(size: int) -> None:
    for template, key in (
        (wire.request_template(size), wire.MASK_KEY),
        (wire.response_template(size), wire.NO_KEY),
    ):
        whole = template.frame(b"1234567890")
        frames, used = wire.split(whole + whole[:-1])
        assert used == len(whole)
        [(opcode, start, end, found)] = frames
        message = wire.mask(whole[start:end], found)
        assert (opcode, found, len(message)) == (wire.TEXT, key, size)
        assert json.loads(message)["id"] == 1234567890


def test_split_waits_for_every_byte_and_refuses_fragments() -> None:
    whole = wire.request_template(300).frame(b"1234567890")
    for cut in range(len(whole)):
        assert wire.split(whole[:cut]) == ([], 0)
    with pytest.raises(wire.WireError):
        wire.split(b"\x01\x00")


async def test_echo_server_speaks_websocket(tmp_path: Path) -> None:
    port = free_port()
    server = Program("echo", python("benchmarks.servers", port), tmp_path / "log")
    try:
        server.wait_listening(port)
        frame = wire.request_template(16384).frame(b"1234567890")
        [(_, start, end, key)], _ = wire.split(frame)
        request = wire.mask(frame[start:end], key).decode()
        async with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
            await (await client.ping())
            await client.send(request)
            answer = await client.recv()
        assert client.close_code == 1000
        assert len(answer) == 16384
        assert json.loads(answer)["id"] == 1234567890
        assert json.loads(answer)["result"]["text"]
    finally:
        assert server.stop() == 0


def test_side_by_side() -> None:
    cores = affinity(0)
    report = run(QUICK, [BY_NAME["direct"], BY_NAME["relay"], BY_NAME["nginx"]], [SHAPE])
    assert affinity(0) == cores
    assert psutil.Process().children() == []

    found = json.loads(json.dumps(report.as_json()))
    expected = {"direct", "relay"} | ({"nginx"} if nginx.find() else set())
    assert set(found["rounds"]["256 B, 2 x 3"]) == expected
    for rounds in found["rounds"]["256 B, 2 x 3"].values():
        assert len(rounds) == 2
        assert all(item["rate"] > 0 and item["p99_us"] >= item["p50_us"] > 0 for item in rounds)
    assert found["rounds"]["256 B, 2 x 3"]["direct"][0]["cpu_us"] is None
    assert found["medians"]["256 B, 2 x 3"]["relay"]["cpu_us"] > 0
    ratios = found["ratios"]["256 B, 2 x 3"]
    assert (ratios["relay"]["cpu/relay"], ratios["relay"]["p50/relay"]) == (1, 1)
    assert ratios["direct"]["p50/relay"] > 0
    assert found["memory"]["relay"] > 0
    assert "python" in found["versions"]


def test_what_is_not_installed_is_skipped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "find", lambda: None)
    report = run(QUICK, [BY_NAME["direct"], BY_NAME["nginx"]], [SHAPE])
    assert "nginx: not installed, skipped" in report.as_text().splitlines()
    assert list(report.rounds["256 B, 2 x 3"]) == ["direct"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_no_measurement_without_telemetry(protocol: str) -> None:
    silent = Variant("silent", BY_NAME["relay"].command, telemetry=True)
    settings = Settings(seconds=0.1, warm_up=0, rounds=1, idle=0, otlp=protocol, export_timeout=0.1)
    with pytest.raises(BenchError, match=r"silent: [\d,]+ calls were made, but only 0 came"):
        run(settings, [silent], [SHAPE])
    assert psutil.Process().children() == []


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_debbie_exports_every_call(protocol: str) -> None:
    settings = Settings(seconds=0.1, warm_up=0, rounds=1, idle=0, otlp=protocol)
    report = run(settings, [BY_NAME["debbie"]], [SHAPE])
    measured = report.rounds["256 B, 2 x 3"]["debbie"][0]
    assert measured.cpu_us is not None
    assert measured.cpu_us > 0
    assert report.exported["debbie"]["calls"] >= measured.rate * settings.seconds


def test_a_program_that_ends_is_named() -> None:
    broken = Variant("broken", lambda _: [sys.executable, "-c", "raise SystemExit('no luck')"])
    with pytest.raises(BenchError, match=r"broken ended with code 1\nno luck"):
        run(QUICK, [broken], [SHAPE])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_receiver_counts_calls_of_real_exporters(protocol: str, tmp_path: Path) -> None:
    port = free_port()
    command = python("benchmarks.receiver", protocol, port, "echo")
    receiver = Program("receiver", command, tmp_path / "log", talks=True)
    try:
        receiver.wait_listening(port)
        exporter: SpanExporter = (
            GrpcSpanExporter(f"http://127.0.0.1:{port}", insecure=True)
            if protocol == "grpc"
            else HttpSpanExporter(
                f"http://127.0.0.1:{port}/v1/traces", compression=Compression.Gzip
            )
        )
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("test")
        for number in range(1000):
            tracer.start_span("echo", attributes={"n": number}).end()
        tracer.start_span("call", attributes={"rpc.method": "echo"}).end()
        tracer.start_span("echoes", attributes={"rpc.method": "other"}).end()
        assert provider.force_flush()
        counted = receiver.ask("count")
        provider.shutdown()
        assert (counted["spans"], counted["calls"]) == (1002, 1001)
        assert counted["requests"]["traces"] >= 2
        assert counted["requests"]["metrics"] == 0
    finally:
        receiver.stop()


def test_ratios_are_taken_within_a_round() -> None:
    def rounds(*cpu: float) -> list[Round]:
        return [Round(value, 1000.0, value * 2, value * 3) for value in cpu]

    report = Report({}, {}, {"s": {"relay": rounds(10, 100, 30), "mine": rounds(5, 50, 60)}})
    # The medians are 30 and 50; the machine was slow in the second round, for both.
    assert report.as_json()["ratios"]["s"]["mine"] == {"cpu/relay": 0.5, "p50/relay": 0.5}
    assert report.as_json()["medians"]["s"]["mine"]["cpu_us"] == 50
    assert "0.50" in report.as_text()


def test_command_line(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    arguments = ["--seconds", "0.05", "--rounds", "1", "--idle", "0", "--only", "direct"]
    result = CliRunner().invoke(main, [*arguments, "--json", str(output)])
    assert result.exit_code == 0, result.output
    assert "Ratios are what counts" in result.output
    assert list(json.loads(output.read_text())["medians"]) == [
        "256 B, 16 x 16",
        "16 KiB, 16 x 16",
        "256 B, 1 x 1",
        "16 KiB, 1 x 1",
    ]
    wrong = CliRunner().invoke(main, ["--only", "direct,nothing"])
    assert wrong.exit_code == 2
    assert "'nothing' is none of direct, relay, nginx, telemetry, debbie" in wrong.output


def test_a_terminated_benchmark_leaves_nothing_behind() -> None:
    with subprocess.Popen(
        python("benchmarks.bench", "--only", "direct,relay", "--seconds", "30"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert b"round 1" in process.stderr.readline()
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        gone, alive = psutil.wait_procs(children, timeout=5)
    assert (len(gone), alive) == (2, [])
