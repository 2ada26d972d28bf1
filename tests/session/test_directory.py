"""Which session a message belongs to, as wire transcripts."""

from __future__ import annotations

import itertools

import pytest

from debbie_otel.session import events as ev
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.directory import Limits
from tests.play import Play
from tests.session.cost import lines_run
from tests.session.openings import ACP_START, CODEX_START, START


def test_aiwhisperer_names_of_sessions_that_do_not_exist_begin_none() -> None:
    stage = Play()
    stage.play(START)
    stage.play(
        """
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"bogus","message":"a"}}
        << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"a"}}
        << {"id":2,"result":{"ai_response":"a"}}
        >> {"id":3,"method":"stopSession","params":{"sessionId":"s1"}}
        << {"id":3,"result":{"status":2}}
        >> {"id":4,"method":"sendUserMessage","params":{"sessionId":"s1","message":"late"}}
        << {"id":4,"error":{"code":-32602,"message":"Invalid session"}}
        """
    )
    assert [event.session.id for event in stage.of(ev.SessionStarted)] == ["s1"]
    assert [event.reason for event in stage.of(ev.SessionEnded)] == ["stopped"]
    assert {event.turn.session.id for event in stage.of(ev.TurnEnded)} == {"s1"}


def test_aiwhisperer_second_connection_joins_the_session_and_may_leave() -> None:
    stage = Play()
    stage.play(START)
    stage.play(
        """
        conn B
        >> {"id":1,"method":"sendUserMessage","params":{"sessionId":"s1","message":"wake up"}}
        << {"id":1,"result":{"ai_response":"hm"}}
        """
    )
    assert stage.close() == []
    stage.current = "A"
    assert stage.close() == ["session s1 ended: disconnected"]


def test_a_client_that_comes_back_goes_on_with_its_session() -> None:
    stage = Play()
    stage.play(START)
    stage.close()
    stage.current = "B"
    again = '>> {"id":1,"method":"sendUserMessage","params":{"sessionId":"s1","message":"again"}}'
    assert stage.play(again) == [
        "session s1 resumed", "turn 1 started", "call sendUserMessage in turn 1",
    ]  # fmt: skip
    assert stage.sessions.get("s1") is stage.connection.session


def test_a_session_that_is_loaded_again_counts_on_and_links_back() -> None:
    stage = Play()
    stage.play(ACP_START)
    stage.close()
    stage.play(
        """
        conn B
        >> {"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}
        >> {"jsonrpc":"2.0","id":1,"method":"session/load","params":{"sessionId":"s1"}}
        << {"jsonrpc":"2.0","id":1,"result":{}}
        >> {"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"s1"}}
        """
    )
    first, second = stage.of(ev.SessionStarted)
    assert first.session is second.session
    assert second.session.resumed
    assert [event.turn.number for event in stage.of(ev.TurnStarted)] == [1, 2]


def test_codex_tells_every_client_of_every_thread_but_each_uses_its_own() -> None:
    stage = Play()
    thread = '<< {"method":"thread/started","params":{"thread":{"id":"%s"}}}'
    stage.play(f"conn B\n{thread % 'T1'}\nconn A" + CODEX_START)
    stage.play(
        """
        conn B
        >> {"id":1,"method":"thread/start","params":{"cwd":"/"}}
        << {"id":1,"result":{"thread":{"id":"T2"}}}
        conn A
        """
        + thread % "T2"
    )
    for name, own in (("A", "T1"), ("B", "T2")):
        connection = stage.connections[name]
        assert {session.info.id for session in connection.sessions} == {"T1", "T2"}
        used = [s.info.id for s in connection.sessions if connection.is_used(s)]
        assert used == [own] == [connection.session.info.id]


def test_codex_a_client_that_speaks_in_two_threads_uses_both() -> None:
    stage = Play()
    stage.play(CODEX_START)
    stage.play(
        """
        conn B
        << {"method":"thread/started","params":{"thread":{"id":"T1"}}}
        >> {"id":1,"method":"thread/start","params":{"cwd":"/"}}
        << {"id":1,"result":{"thread":{"id":"T2"}}}
        >> {"id":2,"method":"turn/steer","params":{"threadId":"T1","input":[]}}
        """
    )
    connection = stage.connections["B"]
    assert all(connection.is_used(session) for session in connection.sessions)
    assert connection.session.info.id == "T2", "which it began itself"


def test_generic_session_takes_the_name_that_the_server_gives() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":1,"method":"open","params":{}}
        << {"method":"tick","params":{"session_id":"abc"}}
        << {"method":"tick","params":{"session_id":"def"}}
        """
    )
    assert [event.session.id for event in stage.of(ev.MessageSeen)] == ["abc", "abc", "def"]
    assert len(stage.of(ev.SessionStarted)) == 2


def test_a_turn_goes_on_in_the_session_that_the_server_names_meanwhile() -> None:
    dialect = Dialect.from_toml(
        """
        name = "mine"
        [session]
        id = ["params.room"]
        [[rule]]
        role = "turn"
        method = "ask"
        """,
        "mine.toml",
    )
    stage = Play(dialect)
    stage.play(
        """
        >> {"id":1,"method":"ask","params":{}}
        << {"method":"tick","params":{"room":"abc"}}
        << {"id":1,"result":{}}
        """
    )
    assert {event.session.id for event in stage.of(ev.MessageSeen)} == {"abc"}
    assert [event.turn is not None for event in stage.of(ev.MessageSeen)] == [True, True, True]


def test_a_connection_remembers_only_so_many_ended_sessions() -> None:
    stage = Play()
    for number in range(600):
        stage.play(
            f"""
            >> {{"id":1,"method":"startSession","params":{{}}}}
            << {{"id":1,"result":{{"sessionId":"s{number}"}}}}
            >> {{"id":2,"method":"stopSession","params":{{"sessionId":"s{number}"}}}}
            << {{"id":2,"result":{{"status":2}}}}
            """
        )
    assert len(stage.connection.sessions) <= 2 * 256 + 1
    assert len(stage.sessions) == 0


def started(stage: Play, name: str) -> None:
    stage.play(
        f"""
        >> {{"id":1,"method":"startSession","params":{{}}}}
        << {{"id":1,"result":{{"sessionId":"{name}"}}}}
        """
    )


def test_the_session_that_has_been_silent_longest_makes_room() -> None:
    stage = Play("aiwhisperer", Limits(sessions=3))
    for name in ("s0", "s1", "s2"):
        stage.now += 1
        started(stage, name)
    stage.now += 1
    stage.play('<< {"method":"StreamingUpdate","params":{"sessionId":"s0","content":"a"}}')
    for name in ("s3", "s4"):
        stage.now += 1
        started(stage, name)
    ended = [(event.session.id, event.reason) for event in stage.of(ev.SessionEnded)]
    assert ended == [("s1", "evicted"), ("s2", "evicted")]
    assert {session.info.id for session in stage.sessions} == {"s0", "s3", "s4"}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_new_session_costs_the_same_however_many_there_are(stopped: bool) -> None:
    def cost(limit: int) -> float:
        stage = Play("aiwhisperer", Limits(sessions=limit))
        numbers = itertools.count()

        def one() -> None:
            name = f"s{next(numbers)}"
            stage.now += 1
            started(stage, name)
            if stopped:
                stop = '>> {"id":2,"method":"stopSession","params":{"sessionId":"%s"}}'
                stage.play(stop % name + '\n<< {"id":2,"result":{"status":2}}')

        def many() -> None:
            for _ in range(100):
                one()

        for _ in range(2 * limit):
            one()
        return lines_run(many)

    assert cost(2000) <= 1.5 * cost(50)
