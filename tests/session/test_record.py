from __future__ import annotations

import msgspec

from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.detection.alerts import Transition
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.live_connections import LiveConnections
from debbie_otel.session.model import SessionInfo
from debbie_otel.session.record import MAX_STEPS, SessionRecords, Step, fingerprint
from tests.play import SECOND, recording
from tests.report.stories import LOOP, Watched, collected
from tests.session.cost import lines_run

CALL = '>> {"id":%d,"method":"m"}\n<< {"id":%d,"result":1}\n'


def last_steps(transcript: str, dialect: str) -> list[Step]:
    """The last steps of all sessions, as snapshots tell them."""
    watched = Watched(dialect)
    watched.play(transcript)
    sessions = watched.stage.connection.sessions
    return [step for s in sessions for step in watched.records.last_steps(s.info, 40)]


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
    SessionRecords(monitor.live).listen_to(monitor.events)
    SessionRecords(monitor.live).listen_to(monitor.events, report=True, messages=0)
    assert not monitor.events.has_subscribers(ev.MessageSeen)
    SessionRecords(monitor.live).listen_to(monitor.events, report=True, messages=1)
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
    found = watched.records.find("s1")
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
    watched.monitor.events.publish(Transition("resolved", alert, 5))
    (seen,) = watched.facts().alerts
    assert seen.resolved_ns == 5


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
    assert watched.records.session_ids() == ["conn-B", "conn-C"]
    assert watched.records.find("conn-A") is None
    for number in range(MAX_STEPS + 5):
        watched.play(f"""
            >> {{"jsonrpc":"2.0","id":{number + 100},"method":"ping"}}
            << {{"jsonrpc":"2.0","id":{number + 100},"result":{{}}}}
        """)
    found = watched.records.find("conn-C")
    assert found is not None
    assert len(found.steps) == MAX_STEPS


def test_a_real_recording() -> None:
    records = collected(recording("codex").events)
    known = [records.find(session_id) for session_id in records.session_ids()]
    tokens = [found.output_tokens for found in known if found is not None]
    assert max(tokens) > 0
    turns = [step for found in known if found for step in found.steps if step.kind == "turn"]
    assert {turn.outcome for turn in turns} >= {"completed", "cancelled", "failed"}


def test_equal_arguments_have_equal_fingerprints() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(object()) == ""


def test_calls_tools_and_turns_with_times_and_errors() -> None:
    steps = last_steps(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{}}}
        +2
        << {"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}
        >> {"jsonrpc":"2.0","id":2,"method":"tools/list"}
        +1
        << {"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"no"}}
        """,
        "mcp",
    )
    assert [(s.kind, s.name, s.seconds, s.outcome, s.error) for s in steps] == [
        ("tool", "read", 2.0, "failed", "tool_error"),  # counted once, as the tool
        ("call", "tools/list", 1.0, "failed", "-32603"),
    ]


def test_a_turn_is_told_once_to_snapshots_and_a_reported_tool_has_no_time() -> None:
    steps = last_steps(
        """
        >> {"id":1,"method":"startSession","params":{"userId":"u"}}
        << {"id":1,"result":{"sessionId":"s1","status":1}}
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}
        +3
        << {"id":2,"result":{"ai_response":"","tool_calls":[{"id":"a","function":{"name":"list_rfcs","arguments":"{}"}}]}}
        """,
        "aiwhisperer",
    )
    assert [(s.kind, s.name, s.timed, s.outcome) for s in steps[-2:]] == [
        ("tool", "list_rfcs", False, "completed"),
        ("turn", "sendUserMessage", True, "incomplete"),
    ]
    assert steps[-1].seconds == 3.0


def test_what_debbie_asked_is_told_to_snapshots_and_not_to_reports() -> None:
    watched = Watched("generic")
    watched.play(CALL % (1, 1))
    watched.stage.connection.expect(2)
    watched.play(CALL % (2, 2))
    info = watched.stage.connection.session.info
    assert [step.injected for step in watched.records.last_steps(info, 40)] == [False, True]
    assert len(watched.facts().steps) == 1


def test_snapshots_get_the_last_steps_of_live_sessions_only() -> None:
    watched = Watched("generic")
    watched.play("".join(CALL % (n, n) for n in range(50)))
    info = watched.stage.connection.session.info
    steps = watched.records.last_steps(info, 40)
    assert [step.ended_ns for step in steps] == [s.ended_ns for s in watched.facts().steps[-40:]]
    watched.close()
    assert watched.records.last_steps(info, 40) == ()
    assert len(watched.facts().steps) == 50


def test_of_ended_sessions_the_first_to_end_is_forgotten() -> None:
    watched = Watched("mcp", ended=1)
    for name in "ABC":
        watched.stage.current = name
        watched.play(LOOP)
        if name != "C":
            watched.close()
    assert watched.records.session_ids() == ["conn-B", "conn-C"]
    assert len(watched.records) == 2


def test_one_record_serves_interventions_and_a_report_that_comes_later() -> None:
    watched = Watched("mcp")
    bus, records = EventBus(), SessionRecords(LiveConnections())
    records.listen_to(bus)
    records.listen_to(bus)  # nothing is counted twice
    watched.play(LOOP)
    bus.publish_all(watched.stage.events)
    (session_id,) = records.session_ids()
    before = records.find(session_id)
    assert before is not None
    assert [len(before.steps), len(before.recent)] == [10, 0]
    assert {step.asked for step in before.steps} == {""}  # nothing compares them yet
    records.listen_to(bus, report=True, messages=3)
    bus.publish_all(watched.stage.events)
    after = records.find(session_id)
    assert after is not None
    assert [len(after.steps), len(after.recent)] == [20, 3]
    assert after.steps[-1].asked == fingerprint({"path": "/secret"})


def test_an_event_costs_the_same_however_many_sessions_and_steps_are_kept() -> None:
    watched = Watched("mcp")
    watched.play(LOOP)
    wanted = (ev.MessageSeen, ev.CallEnded, ev.ToolEnded)
    events = [event for event in watched.stage.events if isinstance(event, wanted)]
    bus, records = EventBus(), SessionRecords(LiveConnections())
    records.listen_to(bus, report=True)
    costs = []
    for sessions in (1, 2000):
        for number in range(sessions):
            info = SessionInfo(id=f"{sessions}-{number}", dialect="mcp", agent="agent")
            bus.publish_all(msgspec.structs.replace(event, session=info) for event in events[:3])
        bus.publish_all(events)
        costs.append(lines_run(lambda: bus.publish_all(events)))
    assert len(records) == 2002
    assert costs[0] == costs[1]
