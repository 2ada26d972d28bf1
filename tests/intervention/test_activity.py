"""RecentActivity: what sessions did of late."""

from __future__ import annotations

from debbie_otel.intervention.activity import MAX_ITEMS, PastItem, RecentActivity
from tests.intervention.told import Told


def played(transcript: str, dialect: str) -> list[PastItem]:
    stage = Told(dialect, transcript)
    sessions = [s for c in stage.connections.values() for s in c.sessions]
    return [item for s in sessions for item in stage.activity.recent(s.info)]


def test_calls_tools_and_turns_with_times_and_errors() -> None:
    items = played(
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
    assert [(i.kind, i.name, i.duration_ns, i.outcome, i.error) for i in items] == [
        ("tool", "read", 2 * 10**9, "failed", "tool_error"),  # counted once, as the tool
        ("call", "tools/list", 10**9, "failed", "-32603"),
    ]


def test_a_turn_is_told_once_and_a_reported_tool_has_no_duration() -> None:
    items = played(
        """
        >> {"id":1,"method":"startSession","params":{"userId":"u"}}
        << {"id":1,"result":{"sessionId":"s1","status":1}}
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}
        +3
        << {"id":2,"result":{"ai_response":"","tool_calls":[{"id":"a","function":{"name":"list_rfcs","arguments":"{}"}}]}}
        """,
        "aiwhisperer",
    )
    assert [(i.kind, i.name, i.duration_ns, i.outcome) for i in items[-2:]] == [
        ("tool", "list_rfcs", None, "completed"),
        ("turn", "sendUserMessage", 3 * 10**9, "incomplete"),
    ]


def test_memory_follows_live_sessions_and_is_bounded() -> None:
    call = '>> {"id":%d,"method":"m"}\n<< {"id":%d,"result":1}\n'
    stage = Told("generic", "".join(call % (n, n) for n in range(MAX_ITEMS + 5)))
    (session,) = [s for c in stage.connections.values() for s in c.sessions]
    assert len(stage.activity.recent(session.info)) == MAX_ITEMS
    few = RecentActivity(sessions=1)
    stage.current = "B"
    stage.play(call % (1, 1))
    for event in stage.events:
        few.observe(event)
    assert len(few) == 1
    assert few.recent(session.info) == ()


def test_a_session_is_forgotten_with_its_end() -> None:
    stage = Told(
        "generic", '>> {"id":1,"method":"m"}\n<< {"id":1,"result":1}\n>> {"id":2,"method":"m"}'
    )
    assert len(stage.activity) == 1
    stage.close()
    for event in stage.events:
        stage.activity.observe(event)
    assert len(stage.activity) == 0
