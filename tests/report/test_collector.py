from __future__ import annotations

from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.report.collector import MAX_STEPS, SessionCollector, fingerprint
from debbie_otel.session import events as ev
from tests.play import SECOND, recording
from tests.report.stories import LOOP, Watched, collected


def test_the_steps_of_a_session() -> None:
    watched = Watched("mcp")
    watched.play(LOOP)
    found = watched.facts()
    assert (found.live, found.tools, found.dialect) == (True, 9, "mcp")
    call, *tools = found.steps
    assert (call.kind, call.name) == ("call", "initialize")
    assert [tool.kind for tool in tools] == ["tool"] * 9
    assert {tool.asked for tool in tools} == {fingerprint({"path": "/secret"})}
    assert [tool.seconds for tool in tools] == [0.5] * 9


def test_no_content_unless_it_is_captured() -> None:
    plain, captured = Watched("mcp"), Watched("mcp", capture_content=True)
    for watched in (plain, captured):
        watched.play(LOOP)
    assert "secret" not in repr(plain.facts())
    assert plain.facts().steps[-1].arguments == ""
    assert captured.facts().steps[-1].arguments == '{"path":"/secret"}'
    assert '"/secret"' in captured.facts().recent[-2].content


def test_the_last_messages() -> None:
    watched = Watched("mcp", messages=3)
    watched.play(LOOP)
    answer, request, last = watched.facts().recent
    assert (request.direction, request.type, request.method) == (
        "client->server",
        "request",
        "tools/call",
    )
    assert (answer.type, last.type, last.method) == ("response", "response", "")
    assert last.time_ns - request.time_ns == SECOND // 2
    assert last.size == len('{"jsonrpc":"2.0","id":10,"result":{"content":[]}}')


def test_messages_are_not_listened_to_where_they_are_not_wanted() -> None:
    monitor = DebbieMonitor()
    SessionCollector(monitor.events, monitor.live, messages=0)
    assert not monitor.events.has_subscribers(ev.MessageSeen)
    SessionCollector(monitor.events, monitor.live, messages=1)
    assert monitor.events.has_subscribers(ev.MessageSeen)


def test_what_is_open() -> None:
    watched = Watched("aiwhisperer")
    watched.play("""
        >> {"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}
        << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1","status":1}}
        >> {"jsonrpc":"2.0","id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"hi"}}
        +1
        >> {"jsonrpc":"2.0","id":3,"method":"agent.list","params":{"sessionId":"s1"}}
    """)
    found = watched.collector.facts("s1")
    assert found is not None
    assert [(step.kind, step.name) for step in found.open] == [
        ("turn", "sendUserMessage"),
        ("call", "agent.list"),
    ]


def test_alerts_go_to_their_session() -> None:
    watched = Watched("mcp")
    watched.play(LOOP)
    alert = watched.alert("tool_loop", "again and again")
    watched.alert("session_stall", "elsewhere", session_id="another")
    (seen,) = watched.facts().alerts
    assert (seen.message, seen.resolved_ns) == ("again and again", None)
    alert.resolved_ns = 5
    assert watched.facts().alerts[0].resolved_ns == 5


def test_a_session_that_has_ended_is_still_known() -> None:
    watched = Watched("mcp")
    watched.play(LOOP)
    watched.close()
    found = watched.facts()
    assert (found.live, found.end_reason, found.open) == (False, "disconnected", ())
    assert len(found.steps) == 10


def test_it_is_bounded() -> None:
    watched = Watched("mcp", sessions=2)
    for name in "ABC":
        watched.stage.current = name
        watched.play(LOOP)
    assert watched.collector.session_ids() == ["conn-B", "conn-C"]
    assert watched.collector.facts("conn-A") is None
    for number in range(MAX_STEPS + 5):
        watched.play(f"""
            >> {{"jsonrpc":"2.0","id":{number + 100},"method":"ping"}}
            << {{"jsonrpc":"2.0","id":{number + 100},"result":{{}}}}
        """)
    found = watched.collector.facts("conn-C")
    assert found is not None
    assert len(found.steps) == MAX_STEPS


def test_a_real_recording() -> None:
    collector = collected(recording("codex").events)
    known = [collector.facts(session_id) for session_id in collector.session_ids()]
    tokens = [found.output_tokens for found in known if found is not None]
    assert max(tokens) > 0
    turns = [step for found in known if found for step in found.steps if step.kind == "turn"]
    assert {turn.outcome for turn in turns} >= {"completed", "cancelled", "failed"}


def test_equal_arguments_have_equal_fingerprints() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(object()) == ""
