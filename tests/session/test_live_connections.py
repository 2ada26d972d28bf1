"""LiveConnections: what is alive, and how it is found without looking through all of it."""

from __future__ import annotations

from debbie_otel.session.live_connections import LiveConnections
from tests.play import DATA, SECOND, Play, recording
from tests.session.openings import ACP_START


def test_open_calls_are_counted_by_dialect_with_the_age_of_the_oldest() -> None:
    live, stage = LiveConnections(), Play("acp")
    stage.play(ACP_START)
    live.add(stage.connection)
    before = live.open_calls("acp", stage.now)
    call = '>> {"jsonrpc":"2.0","id":%d,"method":"session/set_mode","params":{"sessionId":"s1"}}'
    stage.play(f"+10\n{call % 70}\n+5\n{call % 71}")
    after = live.open_calls("acp", stage.now + 2 * SECOND)
    assert after == (before[0] + 2, 17.0 if before[0] else 7.0)
    assert live.open_calls("mcp", stage.now) == (0, 0.0)
    live.remove(stage.connection)
    assert live.open_calls("acp", stage.now) == (0, 0.0)


def test_a_session_is_found_by_its_id_until_its_last_connection_ends() -> None:
    live, stage = LiveConnections(), Play("acp")
    stage.sessions = live.sessions
    live.add(stage.connection)
    unnamed = live.session("conn-A")
    assert unnamed is stage.connection.session  # by its connection, while it has no other name
    stage.play(ACP_START)
    assert live.session("s1") is unnamed
    assert live.session("conn-A") is None
    stage.play(
        '>> {"jsonrpc":"2.0","id":90,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}\n'
        '<< {"jsonrpc":"2.0","id":90,"result":{"sessionId":"s2"}}'
    )
    second = live.session("s2")
    assert second is not None
    assert second.live
    stage.close()
    assert live.session("s1") is live.session("s2") is None
    assert live.sessions._seen == {}


def test_an_ended_session_is_found_as_long_as_its_connection_is_open() -> None:
    live, stage = LiveConnections(), Play("aiwhisperer")
    stage.sessions = live.sessions
    live.add(stage.connection)
    stage.play("""
        >> {"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}
        << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1","status":1}}
        >> {"jsonrpc":"2.0","id":2,"method":"stopSession","params":{"sessionId":"s1"}}
        << {"jsonrpc":"2.0","id":2,"result":{"sessionId":"s1","status":2}}
    """)
    session = live.session("s1")
    assert session is not None
    assert not session.live
    stage.close()
    assert live.session("s1") is None


def test_every_recording_leaves_no_session_behind() -> None:
    folders = sorted(path.parent.name for path in DATA.glob("*/transcript.jsonl"))
    assert folders
    for name in folders:
        assert recording(name).sessions._seen == {}, name


def test_the_open_calls_of_a_session_are_looked_for_on_its_own_connections() -> None:
    live, stage = LiveConnections(), Play("acp")
    stage.sessions = live.sessions
    live.add(stage.connection)
    stage.play(ACP_START)
    session = live.session("s1")
    assert session is not None
    mode = '>> {"jsonrpc":"2.0","id":70,"method":"session/set_mode","params":{"sessionId":"s1"}}'
    stage.play(mode)
    methods = [call.method for call in live.calls_of(session)]
    assert "session/set_mode" in methods
    stage.current = "B"
    live.add(stage.connection)
    stage.play('>> {"jsonrpc":"2.0","id":1,"method":"session/new","params":{}}')
    assert [call.method for call in live.calls_of(session)] == methods
