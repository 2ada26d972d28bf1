from __future__ import annotations

from pathlib import Path

import pytest

from debbie_otel import semconv
from debbie_otel.errors import ConfigurationError
from debbie_otel.report.analysis import SessionAnalysis, analyze
from debbie_otel.report.readback import read_sessions, trace_files
from tests.play import Play, recording
from tests.report.stories import LOOP, played, read_back, written


def comparable(found: SessionAnalysis) -> dict[str, object]:
    """What spans tell as the live session does.

    They do not tell arguments, unless content is captured.
    """
    metrics = found.metrics
    return {
        "identity": (found.session_id, found.dialect, found.agent if metrics.turns else ""),
        "times": (found.started_ns, found.ended_ns, found.end_reason),
        "metrics": metrics,
        "recommendations": [r for r in found.recommendations if r.topic != "tool_loop"],
    }


@pytest.mark.parametrize("name", ["aiwhisperer", "acp"])
async def test_what_is_read_back_is_what_was_seen_live(name: str, tmp_path: Path) -> None:
    live = (await played(name, tmp_path)).report()
    seen = {s.session_id: comparable(s) for s in live.sessions if s.started_ns is not None}
    read = {f.session_id: analyze(f, [], 10**12) for f in read_back(tmp_path)}
    assert {name: comparable(read[name]) for name in seen} == seen
    assert any(session["recommendations"] for session in seen.values())


def test_one_session_of_several(tmp_path: Path) -> None:
    written(recording("acp"), tmp_path)
    every = read_back(tmp_path)
    assert len(every) > 1
    wanted = every[-1]
    assert read_back(tmp_path, wanted.session_id) == [wanted]
    assert read_back(tmp_path, "unknown") == []


HANDSHAKE = """
    >> {"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}
    << {"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}
"""
BEGUN = """
    >> {"jsonrpc":"2.0","id":2,"method":"session/new","params":{"cwd":"/"}}
    << {"jsonrpc":"2.0","id":2,"result":{"sessionId":"s1"}}
    >> {"jsonrpc":"2.0","id":3,"method":"session/new","params":{"cwd":"/"}}
    << {"jsonrpc":"2.0","id":3,"result":{"sessionId":"s2"}}
"""


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_said_before_a_session_has_its_name_is_counted_with_it_once(
    ended: bool, tmp_path: Path
) -> None:
    stage = Play("acp")
    stage.play(HANDSHAKE + BEGUN)
    if ended:
        stage.close()
    written(stage, tmp_path)
    first, second = read_back(tmp_path)
    assert (first.session_id, second.session_id) == ("s1", "s2")
    assert (first.calls + second.calls, first.messages + second.messages) == (3, 6)
    assert [step.name for step in first.steps][:2] == ["initialize", "session/new"]
    assert read_back(tmp_path, "s1") == [first]


def test_a_connection_that_never_has_a_session(tmp_path: Path) -> None:
    stage = Play("acp")
    stage.play(HANDSHAKE)
    stage.close()
    written(stage, tmp_path)
    (found,) = read_back(tmp_path)
    assert (found.session_id, found.started_ns, found.calls) == ("conn-A", None, 1)


def test_tools_that_are_calls_and_their_arguments(tmp_path: Path) -> None:
    for folder, capture in (("captured", True), ("plain", False)):
        stage = Play("mcp")
        stage.play(LOOP)
        written(stage, tmp_path / folder, capture=capture, mcp=True)
    (captured,), (plain,) = read_back(tmp_path / "captured"), read_back(tmp_path / "plain")
    assert [step.name for step in captured.steps] == ["initialize", *["list_files"] * 9]
    assert len({step.asked for step in captured.steps if step.kind == "tool"}) == 1
    assert captured.steps[-1].arguments == '{"path":"/secret"}'
    assert plain.steps[-1].asked == ""
    assert (plain.calls, plain.tools, plain.messages) == (10, 9, 20)  # its end is not there yet
    assert plain.ended_ns is None
    assert plain.recent[-2].method == "tools/call"


ALERT = (
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"a","spanId":"b",'
    f'"name":"{semconv.EVENT_ALERT} session_stall","startTimeUnixNano":"5","endTimeUnixNano":"5",'
    '"attributes":[{"key":"session.id","value":{"stringValue":"s1"}},'
    f'{{"key":"{semconv.ALERT_TYPE}","value":{{"stringValue":"session_stall"}}}},'
    f'{{"key":"{semconv.ALERT_MESSAGE}","value":{{"stringValue":"silent for 31s"}}}},'
    '{"key":"unknown","value":{"arrayValue":{"values":[]}}}]}]}]}]}\n'
)


def test_alerts(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(ALERT)
    (found,) = read_back(tmp_path)
    assert [(a.alert_type, a.message, a.fired_ns) for a in found.alerts] == [
        ("session_stall", "silent for 31s", 5)
    ]
    assert found.calls == 0


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(ALERT[:100] + "\n" + ALERT + "\n" + ALERT[:-20])
    (found,) = read_back(tmp_path)
    assert len(found.alerts) == 1


def test_older_files_and_the_spool_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    for name in ("traces.1.jsonl", "traces.jsonl", "spool/traces.jsonl"):
        (tmp_path / name).write_text(ALERT)
    (tmp_path / "logs.jsonl").write_text("{}")
    assert len(trace_files(tmp_path)) == 3
    (found,) = read_back(tmp_path)
    assert len(found.alerts) == 3


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert read_back(tmp_path / "nowhere") == []
    (tmp_path / "traces.jsonl").write_bytes(b"\xff\xfe no JSON\n")
    with pytest.raises(ConfigurationError, match=r"traces.jsonl: holds no OTLP JSON lines"):
        read_back(tmp_path)
    (tmp_path / "a folder").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_sessions([tmp_path / "a folder"])
