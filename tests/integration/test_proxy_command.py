"""`debbie proxy` as a user starts it: what it says, what it writes, and that recordings replay."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.integration.aiwhisperer import RECORDING, SESSION, expected_tree
from tests.integration.command import debbie, proxy_command, totals
from tests.integration.received import Metrics, Spans
from tests.play import DATA
from tests.servers import TranscriptClient, TranscriptServer
from tests.telemetry.collector import grpc_collector, http_collector


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_it_says_where_everything_is_and_what_happens(tmp_path: Path) -> None:
    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        async with (
            TranscriptServer(RECORDING) as server,
            proxy_command(server.url, "--otlp", otlp, data_dir=tmp_path) as proxy,
        ):
            listening = f"Debbie listens on {proxy.url} and passes on to {server.url}"
            await TranscriptClient(RECORDING).play(proxy.url)
            await proxy.line("Turn 16")
            ended = await proxy.end()
        spans = Spans(collector.received.traces)
    assert (ended.code, ended.err) == (0, [])
    assert ended.out[0] == listening
    assert ended.out[1].startswith(f"Telemetry: {otlp} (--otlp). ")
    assert not re.search(r":0\b", proxy.url)
    said = [line for line in ended.out if line.startswith("[DEBBIE] ")]
    for line in (
        f"[DEBBIE] Session started: {SESSION}",
        "[DEBBIE] Tool execution: read_file (duration: reported)",
        "[DEBBIE] Error: noSuchMethod failed: Method not found",
        "[DEBBIE] Turn 7 incomplete",
        "[DEBBIE] Turn 8 failed: null_response",
        f"[DEBBIE] Session ended: {SESSION} (stopped; 15 turns, 4 tool calls, 7 errors)",
    ):
        assert said.count(line) == 1, line
    assert sum("Turn " in line for line in said) == 16
    assert f"{len(spans.all)} spans delivered to {otlp}" in ended.out
    assert spans.tree() == expected_tree()
    assert files(tmp_path) == []  # nothing is written where a collector takes it all


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_the_standard_variables_say_where_telemetry_goes(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        async with (
            TranscriptServer(RECORDING) as server,
            proxy_command(
                server.url,
                "--quiet",
                data_dir=tmp_path,
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
                OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
                OTEL_EXPORTER_OTLP_HEADERS="x-tenant=blue",
                OTEL_SERVICE_NAME="the-agent",
                OTEL_RESOURCE_ATTRIBUTES="team=blue",
            ) as proxy,
        ):
            await TranscriptClient(RECORDING).play(proxy.url)
            ended = await proxy.end()
        spans, metrics = Spans(collector.received.traces), Metrics(collector.received.metrics)
        headers = collector.received.headers
    assert (ended.code, ended.err) == (0, [])
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in ended.out[1]
    assert not any(line.startswith("[DEBBIE]") for line in ended.out)  # --quiet
    assert spans.tree() == expected_tree()
    for resource in (spans.all[0].resource, metrics.resources[0]):
        assert (resource["service.name"], resource["team"]) == ("the-agent", "blue")
    assert all(found["x-tenant"] == "blue" for found in headers)
    assert metrics.total("debbie.messages") == 150


async def test_without_a_collector_it_writes_files(tmp_path: Path) -> None:
    if listens(4317) or listens(4318):
        pytest.skip("a collector listens on this machine")
    data_dir = tmp_path / "data"
    async with (
        TranscriptServer(RECORDING) as server,
        proxy_command(server.url, data_dir=data_dir) as proxy,
    ):
        await TranscriptClient(RECORDING).play(proxy.url)
        ended = await proxy.end()
    assert (ended.code, ended.err) == (0, [])
    assert ended.out[1].startswith(f"Telemetry: {data_dir} (no collector was set or found). ")
    assert str(data_dir / "traces.jsonl") in ended.out[1]
    spans = Spans.of_file(data_dir / "traces.jsonl")
    assert spans.tree() == expected_tree()
    assert spans.all[0].resource["service.name"] == "aiwhisperer-agent"
    assert f"{len(spans.all)} spans written to {data_dir}/traces.jsonl" in ended.out
    values = {
        metric["name"]: metric  # the last ones, of each service
        for line in (data_dir / "metrics.jsonl").read_text().splitlines()
        for resource in json.loads(line)["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
    }
    assert values["debbie.process.running"]["gauge"]["dataPoints"][0]["asInt"] in (0, "0")
    points = values["debbie.messages"]["sum"]["dataPoints"]
    assert sum(int(point["asInt"]) for point in points) == 150
    calls = values["rpc.server.call.duration"]["histogram"]["dataPoints"]
    assert sum(int(point["count"]) for point in calls) == 34


def methods(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Return calls and errors by method from the second table."""
    end = lines.index(next(line for line in lines if line.startswith("Response times")))
    rows = [re.findall(r"[^│┃\s]+", line) for line in lines[end + 1 :] if "│" in line]
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.mark.parametrize("name", ["aiwhisperer", "acp", "codex"])
async def test_what_is_recorded_replays_to_the_same_totals(name: str, tmp_path: Path) -> None:
    source, record = DATA / name / "transcript.jsonl", tmp_path / "record.jsonl"
    config = tmp_path / "debbie.toml"
    config.write_text("[detection]\nenabled = false\n")  # the errors in it are to stay as they are
    flags = ("--record", str(record), "--quiet", "--config", str(config))
    async with (
        TranscriptServer(source) as server,
        proxy_command(server.url, *flags, data_dir=tmp_path, OTEL_SDK_DISABLED="true") as proxy,
    ):
        await TranscriptClient(source).play(proxy.url)
        live = await proxy.end()
    assert live.code == 0
    assert record.stat().st_mode & 0o777 == 0o600
    replayed = debbie("replay", str(record), data_dir=tmp_path)
    assert (replayed.returncode, replayed.stderr) == (0, "")
    again = replayed.stdout.splitlines()
    assert lasting(totals(again)) == lasting(totals(live.out))
    assert methods(again) == methods(live.out)
    # The recording that was played has the same totals as the recording of its play.
    original = debbie("replay", str(source), data_dir=tmp_path).stdout.splitlines()
    assert lasting(totals(original)) == lasting(totals(again))


def lasting(lines: list[str]) -> list[list[str]]:
    """Return the rows that do not depend on time.

    Where a run of chunks breaks is a matter of which of two sockets is read first, and what is
    slow enough for an alert one of the pace.
    """
    rows = [line.strip("│ ").split() for line in lines if line.startswith("│")]
    return [row for row in rows if row[0] not in ("streams", "alerts")]
