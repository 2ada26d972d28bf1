"""SessionSnapshot: what is told of a session, and what is not."""

from __future__ import annotations

import msgspec

from debbie_otel.intervention.snapshot import MAX_NAME, SessionSnapshot, clean, snapshot
from tests.intervention.told import Told, alert
from tests.session.openings import ACP_START, update

SECRET = "the-user-s-own-words"
HUNG = (
    ACP_START.replace('"text":"go"', f'"text":"{SECRET}"')
    + "\n"
    + update(
        sessionUpdate="tool_call",
        toolCallId="c1",
        title="shell",
        kind="execute",
        status="in_progress",
        rawInput={"command": SECRET},
    )
    + "\n+40"
)


def test_a_hung_session_is_told_with_what_is_open_and_since_when() -> None:
    stage = Told("acp", HUNG)
    told = stage.snapshot(stage.alert("session_stall"), memory=5)
    assert [(item.kind, item.age) for item in told.open] == [("turn", 40), ("tool", 40)]
    assert (told.dialect, told.live, told.idle, told.turns, told.tools) == ("acp", True, 40, 1, 1)
    assert (told.alert.type, told.alert.severity, told.alert.age) == ("session_stall", "high", 40)
    assert told.alert.details["value"] == 30
    assert told.memory == 5
    assert msgspec.json.decode(msgspec.json.encode(told), type=SessionSnapshot) == told


def test_content_is_told_only_where_it_is_captured() -> None:
    stage = Told("acp", HUNG)
    stall = stage.alert("session_stall")
    assert SECRET.encode() not in msgspec.json.encode(stage.snapshot(stall))
    captured = stage.snapshot(stall, capture=True)
    assert SECRET in (captured.open[1].arguments or "")


def test_captured_words_are_cut_and_redacted() -> None:
    words = "password=hunter22222 " + "x" * 5000
    stage = Told(
        "aiwhisperer",
        f"""
        >> {{"id":1,"method":"startSession","params":{{"userId":"u"}}}}
        << {{"id":1,"result":{{"sessionId":"s1","status":1}}}}
        >> {{"id":2,"method":"sendUserMessage","params":{{"sessionId":"s1","message":"{words}"}}}}
        << {{"id":2,"result":{{"ai_response":"fine"}}}}
        """,
    )
    (said,) = stage.snapshot(alert(), capture=True).words
    assert said.input is not None
    assert said.output == "fine"
    assert "hunter2" not in said.input
    assert len(said.input) <= 1000
    assert stage.snapshot(alert()).words == ()


def test_repetitions_and_response_times_of_late() -> None:
    def call(number: int, name: str, seconds: float) -> str:
        return (
            f'>> {{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"{name}"}}}}\n'
            f'+{seconds}\n<< {{"jsonrpc":"2.0","id":{number},"result":{{"content":[]}}}}\n'
        )

    times = [1, 1, 1, 1, 4, 5, 6]
    calls = [call(n, "read", s) for n, s in enumerate(times)] + [call(8, "write", 1)]
    stage = Told("mcp", "".join(calls) + call(9, "read", 7))
    (info,) = [s.info for c in stage.connections.values() for s in c.sessions]
    told = stage.snapshot(alert(session_id=info.id))
    (repeated,) = told.repeated
    assert (repeated.name, repeated.count, repeated.in_a_row) == ("read", 8, 7)
    read = told.response_times[0]
    assert (read.name, read.count, read.usual, read.latest) == ("tool read", 8, 1.0, (5, 6, 7))


def test_a_call_of_another_session_or_of_our_own_is_not_told() -> None:
    stage = Told("generic", '>> {"id":1,"method":"mine"}\n>> {"id":2,"method":"ours"}\n+1')
    (connection,) = stage.connections.values()
    mine, ours = connection.pending_calls
    ours.injected = True
    stage.current = "B"
    stage.play('>> {"id":1,"method":"other"}')
    told = stage.snapshot(alert(session_id=mine.session.id))
    assert [(item.name, item.by) for item in told.open] == [("mine", "client")]


def test_a_session_that_is_gone_is_told_by_its_alert_alone() -> None:
    told = snapshot(None, alert(), alert().fired_ns)
    assert (told.session_id, told.live, told.open, told.age) == ("s1", False, (), None)
    assert told.alert.message == "Session stalled for 35s in turn 1"


def test_text_from_the_wire_is_one_printable_line() -> None:
    nasty = alert(session_id="a\nb\x1b[31m\ud800", subject="x" * 1000)
    told = snapshot(None, nasty, nasty.fired_ns)
    assert told.session_id.isprintable()
    assert len(told.alert.subject) == MAX_NAME
    assert msgspec.json.encode(told)
    assert clean("a\tb", 10) == "a�b"
