"""The AIWhisperer recording over real sockets: exactly what arrives by OTLP, spans and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from debbie_otel import semconv
from debbie_otel.wire.direction import MessageDirection
from tests.integration.aiwhisperer import RECORDING, SESSION, expected_tree
from tests.integration.proxied import play
from tests.integration.received import Metrics, Span, Spans
from tests.servers import Transcript
from tests.session.counted import by_hand
from tests.telemetry.collector import GrpcCollector, HttpCollector, grpc_collector, http_collector

SCOPE = (semconv.SCOPE, version("debbie-otel"), semconv.SCHEMA_URL)


@pytest.fixture(params=["grpc", "http"])
def collector(request: pytest.FixtureRequest) -> Iterator[GrpcCollector | HttpCollector]:
    make: Any = grpc_collector if request.param == "grpc" else http_collector
    with make() as started:
        yield started


def url(collector: GrpcCollector | HttpCollector) -> str:
    scheme = "grpc" if isinstance(collector, GrpcCollector) else "http"
    return f"{scheme}://127.0.0.1:{collector.port}"


async def test_the_exact_span_tree(
    collector: GrpcCollector | HttpCollector, tmp_path: Path
) -> None:
    it = await play(RECORDING, tmp_path, url(collector))
    spans = Spans(collector.received.traces)
    assert spans.tree() == expected_tree()
    assert it.report is not None
    assert (it.report.delivered, it.report.spooled, it.report.dropped) == (len(spans.all), 0, 0)
    assert spans.orphans == []
    assert len(spans.by_id) == len(spans.all)
    roots = [span for span in spans.wire if not span.parent_id]
    assert len({span.trace_id for span in roots}) == len(roots)  # a trace per root
    for span in spans.all:
        assert span.start <= span.end, span
        assert span.attributes[semconv.SESSION_ID], span
        assert span.scope == SCOPE
        assert span.resource["service.name"] == "aiwhisperer-agent"
        assert span.resource["telemetry.sdk.language"] == "python"
    (before_start,) = {s.attributes[semconv.SESSION_ID] for s in spans.all} - {SESSION}
    named_late = [s.name for s in spans.all if s.attributes[semconv.SESSION_ID] == before_start]
    assert named_late == ["agent.created", "agent.switched"]


async def test_attributes_of_spans(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        await play(RECORDING, tmp_path, url(collector))
        spans = Spans(collector.received.traces)
    common = {
        "network.transport": "tcp",
        "network.protocol.name": "websocket",
        "server.address": "127.0.0.1",
        "rpc.system.name": "jsonrpc",
        "debbie.dialect": "aiwhisperer",
        "session.id": SESSION,
    }
    changing = ("server.port", "debbie.connection.id")
    (connection,) = {span.attributes["debbie.connection.id"] for span in spans.all}
    (port,) = {span.attributes["server.port"] for span in spans.all}
    assert connection.startswith("conn-")
    assert port > 0

    def own(span: Span) -> dict[str, Any]:
        assert common.items() <= span.attributes.items()
        return {
            key: value
            for key, value in span.attributes.items()
            if key not in common and key not in changing
        }

    assert own(spans.one("debbie.session.start")) == {"debbie.session.resumed": False}
    assert own(spans.one("debbie.session.end")) == {
        "debbie.session.end_reason": "stopped",
        "debbie.session.turns": 15,
        "debbie.session.calls": 32,
        "debbie.session.tools": 4,
        "debbie.session.errors": 7,
        "debbie.session.messages": 146,
    }
    turns = spans.turns
    turn = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "aiwhisperer",
        "gen_ai.agent.id": "a",
        "gen_ai.conversation.id": SESSION,
        "rpc.method": "sendUserMessage",
        "debbie.turn.failed_tools": 0,
        "debbie.turn.calls": 1,
    }
    assert own(turns[0]) == turn | {
        "jsonrpc.request.id": "4",
        "debbie.turn.number": 1,
        "debbie.turn.outcome": "completed",
        "debbie.turn.tools": 0,
        "debbie.request.size": 147,
        "debbie.response.size": 180,
    }
    assert own(turns[1]) == turn | {
        "jsonrpc.request.id": "5",
        "debbie.turn.number": 2,
        "debbie.turn.outcome": "completed",
        "debbie.turn.tools": 1,
        "debbie.request.size": 178,
        "debbie.response.size": 292,
    }
    assert turns[6].picked("debbie.turn.", "error") == {
        "debbie.turn.number": 7,
        "debbie.turn.outcome": "incomplete",  # tools were called and no answer followed
        "debbie.turn.tools": 1,
        "debbie.turn.failed_tools": 0,
        "debbie.turn.calls": 1,
    }
    assert turns[6].error is None
    assert turns[7].picked("debbie.turn.outcome", "error", "rpc.response") == {
        "debbie.turn.outcome": "failed",  # `ai_response: null`, the model's 500
        "error.type": "null_response",
    }
    assert turns[13].picked("debbie.turn.outcome", "error", "rpc.response") == {
        "debbie.turn.outcome": "failed",
        "error.type": "-32602",
        "rpc.response.status_code": "-32602",
    }
    assert turns[9].attributes["debbie.turn.calls"] == 2  # the echo that was sent meanwhile
    assert turns[12].attributes["gen_ai.agent.id"] == "d"  # after the switch
    (tool,) = spans.named("execute_tool read_file")
    assert own(tool) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "read_file",
        "gen_ai.tool.call.id": "call_4",
        "debbie.tool.outcome": "completed",
        "debbie.tool.timing": "reported",
    }
    assert tool.start == tool.end
    assert own(spans.one("noSuchMethod")) == {
        "rpc.method": "noSuchMethod",
        "jsonrpc.request.id": "28",
        "jsonrpc.protocol.version": "2.0",
        "debbie.request.size": 68,
        "debbie.response.size": 86,
        "debbie.call.outcome": "failed",
        "error.type": "-32601",
        "rpc.response.status_code": "-32601",
    }
    assert own(spans.one("debbie.message.unknown")) == {
        "debbie.message.type": "unknown",
        "debbie.message.direction": "client->server",
        "debbie.message.size": 8,
    }
    assert own(spans.one("debbie.message.unmatched")) == {
        "debbie.message.type": "error",
        "debbie.message.direction": "server->client",
        "debbie.message.size": 83,
        "error.type": "-32700",
    }
    assert own(spans.one("agent.message")).keys() == {
        "rpc.method", "debbie.message.type", "debbie.message.direction", "debbie.message.size"
    }  # fmt: skip
    stream = own(spans.named("StreamingUpdate")[0])
    assert stream.pop("debbie.stream.bytes") > 0
    assert 0 <= stream.pop("debbie.stream.longest_gap") < 10
    assert 0 < stream.pop("debbie.stream.time_to_first_chunk") < 10
    assert stream == {
        "rpc.method": "StreamingUpdate",
        "debbie.message.type": "stream",
        "debbie.stream.kind": "message",
        "debbie.stream.chunks": 5,
    }


async def test_the_exact_counters(collector: GrpcCollector | HttpCollector, tmp_path: Path) -> None:
    await play(RECORDING, tmp_path, url(collector))
    metrics = Metrics(collector.received.metrics)
    spans = Spans(collector.received.traces)
    direction, kind = semconv.MESSAGE_DIRECTION, semconv.MESSAGE_TYPE
    messages = metrics.by("debbie.messages", direction, kind, "rpc.method")
    assert messages == by_hand("aiwhisperer")
    sent: dict[tuple[str], int] = {(way.value,): 0 for way in MessageDirection}
    for line in Transcript(RECORDING).lines:
        sent[line.recorded.direction.value,] += len(line.recorded.payload)
    assert metrics.by("debbie.io", direction) == sent
    assert metrics.by("debbie.tools", "gen_ai.tool.name", "debbie.tool.outcome") == {
        ("list_directory", "completed"): 2,
        ("read_file", "completed"): 1,
        ("no_such_tool", "completed"): 1,
    }
    calls = metrics.by("rpc.server.call.duration", "rpc.method", "error.type")
    assert calls == {
        ("startSession", None): 1,
        ("agent.list", None): 1,
        ("session.current_agent", None): 1,
        ("sendUserMessage", None): 12,
        ("sendUserMessage", "null_response"): 2,
        ("sendUserMessage", "-32602"): 2,
        ("echo", None): 1,
        ("echo", "-32600"): 1,
        ("provideToolResult", None): 1,
        ("session.switch_agent", None): 1,
        ("session.switch_agent", "-32001"): 1,
        ("session.handoff", None): 1,
        ("dispatchCommand", None): 1,
        ("dispatchCommand", "malformed_error"): 1,
        ("debbie.status", None): 1,
        ("debbie.alerts", None): 1,
        ("channel.stats", None): 1,
        ("channel.history", None): 1,
        ("noSuchMethod", "-32601"): 1,
        ("stopSession", None): 2,
    }
    codes = metrics.by("rpc.server.call.duration", "rpc.response.status_code")
    assert codes == {(None,): 29, ("-32602",): 2, ("-32601",): 1, ("-32600",): 1, ("-32001",): 1}
    assert metrics.by("debbie.turn.duration", "debbie.turn.outcome", "error.type") == {
        ("completed", None): 11,
        ("incomplete", None): 1,
        ("failed", "null_response"): 2,
        ("failed", "-32602"): 2,
    }
    assert metrics.by("debbie.session.duration", "debbie.session.end_reason") == {("stopped",): 1}
    assert metrics.sums["debbie.sessions.active"] == {(): 0}
    assert metrics.sums["debbie.calls.pending"] == {(): 0}
    assert metrics.units["rpc.server.call.duration"] == metrics.units["debbie.turn.duration"] == "s"
    assert "gen_ai.execute_tool.duration" not in metrics.counts  # the wire tells no times of tools
    assert not any(k.startswith("debbie.inspection") and v for k, v in metrics.sums.items())
    assert_bounded(metrics)
    assert_exemplars_lead_to_spans(metrics, spans)
    assert metrics.scopes == {SCOPE[:2]}
    services = {found["service.name"] for found in metrics.resources}
    assert services == {"aiwhisperer-agent", "debbie"}


def assert_bounded(metrics: Metrics) -> None:
    """No id is on a metric."""
    found = [series for by_series in metrics.sums.values() for series in by_series]
    found += [series for by_series in metrics.counts.values() for series in by_series]
    names = {name for series in found for name, _ in series}
    assert not names & {"session.id", "jsonrpc.request.id", "debbie.connection.id"}


def assert_exemplars_lead_to_spans(metrics: Metrics, spans: Spans) -> None:
    for name in ("rpc.server.call.duration", "debbie.turn.duration"):
        assert metrics.exemplars[name]
        for trace_id, span_id in metrics.exemplars[name]:
            assert spans.by_id[span_id].trace_id == trace_id
    turns = {span.span_id for span in spans.turns}
    assert {span_id for _, span_id in metrics.exemplars["debbie.turn.duration"]} <= turns


async def test_who_names_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def names(**telemetry: Any) -> tuple[set[str], Span, Metrics]:
        with http_collector() as collector:
            otlp = url(collector)
            await play(RECORDING, tmp_path, otlp, telemetry=telemetry)
            spans, metrics = Spans(collector.received.traces), Metrics(collector.received.metrics)
        found = {span.resource["service.name"] for span in spans.all}
        assert {resource["service.name"] for resource in metrics.resources} == found
        return found, spans.all[0], metrics

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=blue,service.name=by-attributes")
    service, span, metrics = await names()
    assert service == {"by-attributes"}
    assert span.resource["team"] == metrics.resources[0]["team"] == "blue"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "by-variable")
    assert (await names())[0] == {"by-variable"}
    assert (await names(service_name="by-flag"))[0] == {"by-flag"}
