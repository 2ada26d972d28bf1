"""What telemetry keeps of the core's objects, and for how long."""

from __future__ import annotations

import gc

from debbie_otel.session.model import SessionInfo
from debbie_otel.telemetry.traces import Companions
from tests.play import Play
from tests.telemetry.spantree import SESSION, Recorded

MCP_CALL = """
    >> {"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":%d}}}
    << {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":1}}
"""
MCP_ANSWER = '<< {"jsonrpc":"2.0","id":%d,"result":{}}'


def info() -> SessionInfo:
    return SessionInfo(id="s", dialect="d", agent="a")


def test_a_value_is_of_one_object_and_goes_with_it() -> None:
    kept: Companions[SessionInfo, str] = Companions()
    one, other = info(), info()
    kept.set(one, "one")
    assert (kept.get(one), kept.get(other)) == ("one", None)
    kept.set(one, "again")
    assert (kept.get(one), len(kept.entries)) == ("again", 1)
    del one
    gc.collect()
    assert len(kept.entries) == 0


def test_a_value_is_not_found_by_an_object_in_the_same_place() -> None:
    kept: Companions[SessionInfo, str] = Companions()
    for _ in range(1000):  # each is where the one before was
        one = info()
        assert kept.get(one) is None
        kept.set(one, "one")
        del one
    assert len(kept.entries) == 0


def test_companions_may_go_before_the_object_does() -> None:
    kept: Companions[SessionInfo, str] = Companions()
    one = info()
    kept.set(one, "one")
    del kept
    del one
    gc.collect()


def test_calls_that_have_ended_leave_nothing() -> None:
    recorded = Recorded(Play("mcp"), mcp=True)
    for number in range(200):
        recorded.play(MCP_CALL % (number, number, number))
        assert len(recorded.traces.calls.entries) >= 1
        recorded.play(MCP_ANSWER % number)
        recorded.forget()
    gc.collect()
    assert len(recorded.traces.calls.entries) == 0


def test_turns_leave_nothing_but_what_the_session_remembers() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    for number in range(2, 300):
        recorded.play(
            f'>> {{"jsonrpc":"2.0","id":{number},"method":"sendUserMessage","params":{{"sessionId":"s1","message":"x"}}}}\n'
            f'<< {{"jsonrpc":"2.0","id":{number},"result":{{"ai_response":"ok"}}}}'
        )
        recorded.forget()
    gc.collect()
    (session,) = recorded.stage.connection.sessions
    assert len(recorded.traces.turns.entries) <= len(session.past) + len(session.open_turns)
    assert len(recorded.traces.sessions.entries) == 1
