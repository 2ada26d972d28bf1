from __future__ import annotations

from collections import Counter
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from debbie_otel.intervention.records import InterventionResult
from debbie_otel.session.events import MessageSeen
from debbie_otel.session.message import parse_payload
from debbie_otel.session.model import SessionInfo
from debbie_otel.telemetry.instruments import AlertInstruments, Instruments, Names
from debbie_otel.wire.direction import MessageDirection
from tests.intervention.attempts import attempt
from tests.play import Play, recording
from tests.telemetry.spantree import Recorded


def collected(
    instruments: Instruments | AlertInstruments,
) -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instruments.register(provider.get_meter("debbie_otel"))
    data = reader.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    found = {
        metric.name: [(p.value, dict(p.attributes or {})) for p in metric.data.data_points]  # type: ignore[union-attr]
        for metric in scope.metrics
    }
    provider.shutdown()
    return found


def test_metrics_of_a_recording_agree_with_its_messages() -> None:
    recorded = Recorded(recording("acp"))
    recorded.catch_up()
    found = collected(recorded.instruments)
    assert sum(value for value, _ in found["debbie.messages"]) == 251
    by_type: Counter[str] = Counter()
    for value, attributes in found["debbie.messages"]:
        by_type[attributes["debbie.message.type"]] += value
    assert by_type == {"notification": 176, "request": 38, "response": 29, "error": 8}
    directions = {attributes["debbie.message.direction"] for _, attributes in found["debbie.io"]}
    assert directions == {"client->server", "server->client"}
    tools = {
        (a["gen_ai.tool.name"], str(a["debbie.tool.outcome"])): value
        for value, a in found["debbie.tools"]
    }
    assert tools == {
        ("execute", "completed"): 8,
        ("execute", "failed"): 1,
        ("edit", "completed"): 1,
        ("edit", "failed"): 2,
    }
    assert found["debbie.sessions.active"] == [(0, {})]
    assert found["debbie.calls.pending"] == [(0, {})]
    tokens = {a["gen_ai.token.type"]: value for value, a in found["debbie.tokens"]}
    assert tokens == {"input": 15_000, "output": 300}


def test_no_metric_carries_an_id() -> None:
    for name in ("aiwhisperer", "acp", "codex"):
        recorded = Recorded(recording(name))
        recorded.catch_up()
        series = collected(recorded.instruments)
        attributes = [a for metric in series.values() for _, a in metric]
        for histogram in recorded.instruments.histograms:
            attributes += [dict(histogram._attributes(key)) for key in histogram._series]
        assert not [a for a in attributes if any(key.endswith(".id") for key in a)]


def test_calls_are_measured_by_method_and_error() -> None:
    recorded = Recorded(Play("generic"))
    recorded.play(
        """
        >> {"id":1,"method":"a"}
        +0.5
        << {"id":1,"result":0}
        >> {"id":2,"method":"a"}
        << {"id":2,"error":{"code":-1,"message":"no"}}
        << {"id":2,"method":"of the server"}
        >> {"id":2,"result":0}
        """
    )
    served, made, *_ = recorded.instruments.histograms
    assert (served.name, made.name) == ("rpc.server.call.duration", "rpc.client.call.duration")
    assert [dict(served._attributes(key)) for key in served._series] == [
        {"rpc.method": "a", "rpc.system.name": "jsonrpc"},
        {
            "rpc.method": "a",
            "rpc.system.name": "jsonrpc",
            "error.type": "-1",
            "rpc.response.status_code": "-1",
        },
    ]
    assert [series.total for series in served._series.values()] == [0.5, 0.0]
    assert len(made._series) == 1


def test_unknown_methods_cannot_flood_the_metrics() -> None:
    instruments = Instruments("generic", limit=64)
    session = SessionInfo(id="s", dialect="generic", agent="agent")
    for number in range(1000):
        payload = b'{"method":"m%d"}' % number
        for message in parse_payload(payload, MessageDirection.CLIENT_TO_SERVER, 0):
            instruments.message_seen(MessageSeen(session, 0, message, None))
    found = collected(instruments)["debbie.messages"]
    assert len(found) == 65
    assert sum(value for value, _ in found) == 1000


def test_turns_sessions_and_recoveries_have_boundaries_of_their_own() -> None:
    """They last for minutes and hours, at which the conventions' boundaries have ended."""
    histograms = Instruments("generic").histograms + AlertInstruments().histograms
    bounds = {histogram.name: histogram.bounds for histogram in histograms}
    assert bounds["debbie.turn.duration"] == bounds["debbie.recovery.time"]
    assert bounds["debbie.turn.duration"][-1] == 3600
    assert bounds["debbie.session.duration"][-1] == 86400
    assert bounds["rpc.server.call.duration"] == bounds["rpc.client.call.duration"]
    assert bounds["rpc.server.call.duration"][-1] == 300
    assert all(list(of) == sorted(set(of)) for of in bounds.values())


def test_an_alert_is_counted_once_and_is_active_until_it_is_resolved() -> None:
    instruments = AlertInstruments()
    key = {"debbie.alert.type": "session_stall", "debbie.alert.severity": "high"}
    instruments.alert("session_stall", "high", "alert")
    found = collected(instruments)
    assert found["debbie.alerts"] == found["debbie.alerts.active"] == [(1, key)]
    instruments.alert("session_stall", "high", "resolved")
    found = collected(instruments)
    assert found["debbie.alerts"] == [(1, key)]
    assert found["debbie.alerts.active"] == [(0, key)]


def test_an_attempt_is_counted_with_its_outcome_and_measured() -> None:
    instruments = AlertInstruments()
    instruments.intervention(attempt(result=InterventionResult.SUCCESS, recovery_seconds=0.5))
    instruments.intervention(attempt(result=InterventionResult.SKIPPED, reason="cooldown"))
    about = {
        "debbie.intervention.strategy": "prompt_injection",
        "debbie.alert.type": "session_stall",
    }
    assert collected(instruments)["debbie.interventions"] == [
        (1, {**about, "debbie.intervention.result": "success"}),
        (1, {**about, "debbie.intervention.result": "skipped", "debbie.intervention.reason": "cooldown"}),
    ]  # fmt: skip
    duration, recovery = instruments.histograms
    measured = [
        [(dict(histogram._attributes(key)), series.total) for key, series in histogram._series.items()]
        for histogram in (duration, recovery)
    ]  # fmt: skip
    assert measured == [
        [({**about, "debbie.intervention.result": "success"}, 2.0)],
        [(about, 0.5)],
    ]


def test_unknown_tools_cannot_flood_the_metrics() -> None:
    instruments = AlertInstruments(limit=2)
    for tool in ("a", "b", "c", "d", "a"):
        instruments.tool_loop(tool)
    assert collected(instruments)["debbie.tool.loops"] == [
        (2, {"gen_ai.tool.name": "a"}),
        (1, {"gen_ai.tool.name": "b"}),
        (2, {"gen_ai.tool.name": "_OTHER"}),
    ]


def test_names_beyond_the_limit_are_other() -> None:
    names = Names(2, ["known"])
    assert [names(name) for name in ("a", "b", "c", "a", "known", "d")] == [
        "a", "b", "_OTHER", "a", "known", "_OTHER",
    ]  # fmt: skip


def test_a_long_name_is_cut() -> None:
    names = Names(1)
    assert names("n" * 1000) == "n" * 128
