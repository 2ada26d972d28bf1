from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from debbie_otel.app.config import Config, config_of
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.recording import RecordedMessage, read_recording
from debbie_otel.cli.main import main
from debbie_otel.cli.replay import json_lines, judge
from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.runner import ReplayRunner
from debbie_otel.wire.direction import MessageDirection
from tests.play import DATA

KEYS = {"t", "event", "alert_type", "severity", "session_id", "message", "details"}


def replayed(name: str) -> list[dict[str, Any]]:
    path = DATA / name / "transcript.jsonl"
    result = CliRunner().invoke(main, ["replay", str(path), "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_json_is_one_object_an_alert_on_the_recordings_own_clock() -> None:
    lines = replayed("acp")
    assert all(line.keys() == KEYS for line in lines)
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    first = lines[0]
    assert (first["t"], first["event"], first["alert_type"]) == (1.9412, "alert", "tool_loop")
    assert first["session_id"] == "sess_02c73d346241"
    assert first["severity"] == "critical"
    assert first["details"]["value"] == 5


def test_the_loops_of_the_real_recordings_are_found_with_their_fifth_call() -> None:
    found = [line for line in replayed("codex") if line["alert_type"] == "tool_loop"]
    assert [line["event"] for line in found] == ["alert", "resolved"]
    assert found[0]["details"]["value"] == 5


def test_what_is_found_does_not_hang_on_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replayed("codex")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert replayed("codex") == found


def test_the_summary_counts_the_alerts() -> None:
    path = DATA / "acp" / "transcript.jsonl"
    result = CliRunner().invoke(main, ["replay", str(path)], env={"COLUMNS": "200"})
    row = next(line for line in result.output.splitlines() if "alerts" in line)
    fired = [line["alert_type"] for line in replayed("acp") if line["event"] == "alert"]
    assert row.split()[1:4] == ["alerts", "│", str(len(fired))]
    assert sorted(kind for kind in set(fired) if f"1 {kind}" in row) == sorted(fired)


def test_time_that_runs_backwards_stands_still(tmp_path: Path) -> None:
    call = b'{"id":%d,"method":"m"}'
    messages = [
        RecordedMessage(t, "1", MessageDirection.CLIENT_TO_SERVER, call % n)
        for n, t in enumerate((5.0, 1.0, 40.0))
    ]
    transitions = judge(messages, config_of({"detection": {"stall_threshold": 30}}), end=50.0)
    assert next((t.event, t.time_ns / 1e9) for t in transitions) == ("alert", 35.0)


def test_the_rules_of_the_user_hold_in_a_replay() -> None:
    rule = {"name": "my_silence", "metric": "debbie.control.silence", "above": 5}
    started = b'{"id":1,"method":"m"}'
    messages = [RecordedMessage(0.0, "1", MessageDirection.CLIENT_TO_SERVER, started)]
    given = {"rules": [rule], "detection": {"stall_threshold": 30}}
    transitions = judge(messages, config_of(given, {}), end=60.0)
    fired = [seen.alert.alert_type for seen in transitions if seen.event == "alert"]
    assert fired == ["my_silence", "session_stall"]


def judged_live(messages: list[RecordedMessage], config: Config) -> list[Transition]:
    """Alerts of the detector of a live debugger, which sees messages at the recording's times."""
    now = 0
    debbie = DebbieDebugger(config, environ={}, clock=lambda: now, telemetry=False)
    detector = debbie.detector
    assert detector is not None
    found: list[Transition] = []
    looks = ReplayRunner(detector, found.append)
    connections: dict[str, WebSocketInterceptor] = {}
    for message in messages:
        now = max(now, round(message.t * 1e9))
        looks.advance(now)
        if message.conn not in connections:
            connections[message.conn] = debbie.interceptor(key=message.conn)
        connections[message.conn].message_received(message.direction, message.payload, now)
        looks.settle(now)
    end = now + round((config.detection.stall_threshold + config.detection.check_interval) * 1e9)
    looks.advance(end)
    for connection in connections.values():
        connection.close(end, "end of recording")
    looks.settle(end)
    return found


@pytest.mark.parametrize("name", ["acp", "aiwhisperer", "codex"])
def test_a_replay_finds_what_the_live_detector_finds(name: str) -> None:
    rule = {"name": "my_silence", "metric": "debbie.control.silence", "above": 1}
    config = config_of({"rules": [rule], "detection": {"check_interval": 0.5}}, {})
    messages = list(read_recording(DATA / name / "transcript.jsonl"))
    replayed_alerts = list(json_lines(judge(messages, config)))
    assert replayed_alerts == list(json_lines(judged_live(messages, config)))
    kinds = {json.loads(line)["alert_type"] for line in replayed_alerts}
    assert "my_silence" in kinds
    assert len(kinds) > 1
