from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from debbie_otel.app.config import config_of
from debbie_otel.app.recording import RecordedMessage
from debbie_otel.cli.main import main
from debbie_otel.cli.replay import judge
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
