"""Matching of calls, and what each dialect's messages mean, as wire transcripts."""

from __future__ import annotations

import pytest

from debbie_otel.session import events as ev
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.directory import Limits
from tests.play import SECOND, Play

# -- calls ----------------------------------------------------------------------------------------


def test_a_response_ends_its_request() -> None:
    stage = Play("generic")
    assert stage.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}
        +0.25
        << {"jsonrpc":"2.0","id":1,"result":3}
        """
    ) == ["session conn-A started", "call add", "call add completed"]
    (ended,) = stage.of(ev.CallEnded)
    assert ended.call.ended_ns == ended.call.started_ns + SECOND // 4
    assert ended.call.versioned
    assert stage.connection.pending_calls == []


def test_ids_of_both_directions_never_meet() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":0,"method":"from client"}
        << {"id":0,"method":"from server"}
        >> {"id":0,"result":"of server's"}
        """
    )
    (ended,) = stage.of(ev.CallEnded)
    assert ended.call.method == "from server"
    assert [call.method for call in stage.connection.pending_calls] == ["from client"]


def test_ids_of_two_connections_never_meet() -> None:
    stage = Play("generic")
    stage.play(
        """
        conn A
        >> {"id":1,"method":"a"}
        conn B
        >> {"id":1,"method":"b"}
        << {"id":1,"result":0}
        """
    )
    (ended,) = stage.of(ev.CallEnded)
    assert ended.call.method == "b"


def test_ids_of_all_kinds_are_told_apart() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":1,"method":"int"}
        >> {"id":"1","method":"string"}
        >> {"id":1.5,"method":"float"}
        >> {"id":null,"method":"null"}
        >> {"id":true,"method":"bool"}
        << {"id":true,"result":0}
        << {"id":null,"result":0}
        << {"id":1.5,"result":0}
        << {"id":"1","result":0}
        << {"id":1,"result":0}
        """
    )
    ended = [event.call.method for event in stage.of(ev.CallEnded)]
    assert ended == ["bool", "null", "float", "string", "int"]
    assert stage.of(ev.StraySeen) == []


def test_ids_never_pass_through_doubles() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":0.1000000000000000055,"method":"long"}
        >> {"id":0.1,"method":"short"}
        >> {"id":1e400,"method":"huge"}
        >> {"id":"caf\\u00e9\\/","method":"escaped"}
        >> {"id":7,"method":"whole"}
        << {"id":0.1,"result":0}
        << {"id":10e399,"result":0}
        << {"id":"café/","result":0}
        << {"id":7.0,"result":0}
        << {"id":0.1000000000000000055,"result":0}
        """
    )
    ended = [(event.call.method, bytes(event.call.raw_id)) for event in stage.of(ev.CallEnded)]
    assert ended == [
        ("short", b"0.1"),
        ("huge", b"1e400"),
        ("escaped", b'"caf\\u00e9\\/"'),
        ("whole", b"7"),
        ("long", b"0.1000000000000000055"),
    ]
    assert stage.of(ev.StraySeen) == []


def test_a_cancelled_request_is_known_by_its_exact_id() -> None:
    stage = Play("mcp")
    stage.play(
        """
        >> {"jsonrpc":"2.0","id":0.1,"method":"tools/list"}
        >> {"jsonrpc":"2.0","id":0.1000000000000000055,"method":"tools/call","params":{"name":"t"}}
        >> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0.1000000000000000055}}
        """
    )
    (ended,) = stage.of(ev.CallEnded)
    assert (ended.call.method, ended.call.outcome) == ("tools/call", "cancelled")


def test_one_odd_message_does_not_change_how_debbie_speaks() -> None:
    stage = Play("generic")
    exchange = '>> {"jsonrpc":"2.0","id":%d,"method":"m"}\n<< {"jsonrpc":"2.0","id":%d,"result":0}'
    stage.play("\n".join(exchange % (number, number) for number in range(3)))
    stage.play('>> {"id":"odd","method":"m"}\n<< {"id":"odd","error":{"code":-32600}}')
    assert (stage.connection.versioned, stage.connection.numbered) == (True, True)


def test_debbie_speaks_as_most_of_the_messages_do() -> None:
    stage = Play("generic")
    assert (stage.connection.versioned, stage.connection.numbered) == (True, False)
    stage.play('>> {"id":"a","method":"m"}\n<< {"id":"a","result":0}\n>> {"method":"n"}')
    assert (stage.connection.versioned, stage.connection.numbered) == (False, False)


@pytest.mark.parametrize(("dialect", "versioned"), [("codex", False), ("mcp", True)])
def test_the_dialect_says_whether_messages_have_a_version(dialect: str, versioned: bool) -> None:
    stage = Play(dialect)
    member = "" if versioned else '"jsonrpc":"2.0",'
    stage.play("\n".join(f'>> {{{member}"id":{number},"method":"m"}}' for number in range(3)))
    assert stage.connection.versioned is versioned


def test_requests_with_the_same_id_are_answered_in_order() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":1,"method":"first"}
        >> {"id":1,"method":"second"}
        >> {"id":1,"method":"third"}
        << {"id":1,"result":0}
        << {"id":1,"result":0}
        """
    )
    assert [event.call.method for event in stage.of(ev.CallEnded)] == ["first", "second"]
    assert [call.method for call in stage.connection.pending_calls] == ["third"]


def test_responses_that_nobody_asked_for_are_strays() -> None:
    stage = Play("generic")
    assert stage.play(
        """
        << {"id":9,"result":0}
        << {"id":null,"error":{"code":-32700,"message":"Parse error"}}
        << {"id":{"a":1},"result":0}
        << {"result":0}
        >> no json
        """
    ) == [
        "session conn-A started",
        "stray response", "stray error", "stray response", "stray response", "stray unknown",
    ]  # fmt: skip
    assert len(stage.of(ev.MessageSeen)) == 5


def test_a_batch_counts_each_of_its_messages() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> [{"id":1,"method":"a"},{"method":"n"},{"id":2,"method":"b"}]
        << [{"id":2,"result":0},{"id":1,"error":{"code":-1,"message":"no"}}]
        """
    )
    assert len(stage.of(ev.MessageSeen)) == 5
    ended = [(event.call.method, event.call.error_code) for event in stage.of(ev.CallEnded)]
    assert ended == [("b", None), ("a", -1)]


def test_a_connection_that_ends_aborts_what_is_open() -> None:
    stage = Play("generic")
    stage.play('>> {"id":1,"method":"a"}')
    assert stage.close() == [
        "call a aborted connection_closed",
        "session conn-A ended: disconnected",
    ]


def test_calls_are_given_up_after_the_limit() -> None:
    stage = Play("generic", Limits(call_timeout_ns=5 * SECOND))
    stage.play(
        """
        >> {"id":1,"method":"old"}
        +4
        >> {"id":2,"method":"young"}
        """
    )
    out: list[ev.Event] = []
    stage.connection.expire(6 * SECOND, out)
    assert [event.call.error_type for event in out if isinstance(event, ev.CallEnded)] == [
        "timeout"
    ]
    assert [call.method for call in stage.connection.pending_calls] == ["young"]


def test_open_calls_are_bounded() -> None:
    stage = Play("generic", Limits(pending_calls=3))
    for number in range(5):
        stage.play(f'>> {{"id":{number},"method":"m{number}"}}')
    for _ in range(5):
        stage.play('>> {"id":"same","method":"s"}')
    assert len(stage.connection.pending_calls) <= 2 * 3
    assert {e.call.error_type for e in stage.of(ev.CallEnded)} == {"evicted"}


def test_the_callers_trace_context_is_read() -> None:
    stage = Play("mcp")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
    stage.play(
        f'>> {{"id":1,"method":"ping","params":{{"_meta":{{"traceparent":"{parent}"}}}}}}'
        '\n>> {"id":2,"method":"ping","params":{"_meta":{"traceparent":5}}}'
    )
    first, second = stage.connection.pending_calls
    assert first.trace is not None
    assert first.trace.traceparent == parent
    assert second.trace is None


# -- AIWhisperer ----------------------------------------------------------------------------------

START = """
    >> {"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}
    << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1","status":1}}
"""


def test_aiwhisperer_session_turn_and_reported_tools() -> None:
    stage = Play()
    assert stage.play(START) == [
        "call startSession", "session s1 started", "call startSession completed",
    ]  # fmt: skip
    assert stage.play(
        """
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"list"}}
        +1
        << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"o","isPartial":true}}
        << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"ok","isPartial":true}}
        << {"id":2,"result":{"ai_response":"ok","tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"}}]}}
        """
    ) == [
        "turn 1 started", "call sendUserMessage in turn 1", "tool ls completed in turn 1",
        "call sendUserMessage completed", "stream message x2 in turn 1", "turn 1 completed",
    ]  # fmt: skip
    (tool,) = stage.of(ev.ToolEnded)
    assert tool.tool.reported
    assert (tool.tool.id, tool.tool.arguments) == ("c1", "{}")
    assert [event.text for event in stage.of(ev.StreamAdvanced)] == ["o", "k"]
    (stream,) = stage.of(ev.StreamEnded)
    assert stream.stream.since_ns == stream.stream.first_ns - SECOND


def test_aiwhisperer_null_answer_is_an_error_and_empty_answer_after_tools_is_a_stall() -> None:
    stage = Play()
    stage.play(START)
    assert stage.play(
        """
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"a"}}
        << {"id":2,"result":{"ai_response":null,"tool_calls":[]}}
        >> {"id":3,"method":"sendUserMessage","params":{"sessionId":"s1","message":"b"}}
        << {"id":3,"result":{"ai_response":"","tool_calls":[{"id":"c","function":{"name":"ls"}}]}}
        >> {"id":4,"method":"sendUserMessage","params":{"sessionId":"s1","message":"/help"}}
        << {"id":4,"result":{"messageId":"m","status":0}}
        """
    ) == [
        "turn 1 started", "call sendUserMessage in turn 1",
        "call sendUserMessage failed null_response", "turn 1 failed null_response",
        "turn 2 started", "call sendUserMessage in turn 2", "tool ls completed in turn 2",
        "call sendUserMessage completed", "turn 2 incomplete",
        "turn 3 started", "call sendUserMessage in turn 3",
        "call sendUserMessage completed", "turn 3 completed",
    ]  # fmt: skip
    assert stage.connection.session.info.errors == 1


def test_aiwhisperer_serial_server_works_on_the_oldest_turn() -> None:
    stage = Play()
    stage.play(START)
    assert stage.play(
        """
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"slow"}}
        >> {"id":3,"method":"echo","params":{}}
        >> {"id":4,"method":"sendUserMessage","params":{"sessionId":"s1","message":"next"}}
        << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"a"}}
        << {"id":2,"result":{"ai_response":"a"}}
        << {"id":3,"result":{}}
        << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"b"}}
        << {"id":4,"result":{"ai_response":"b"}}
        """
    ) == [
        "turn 1 started", "call sendUserMessage in turn 1", "call echo in turn 1",
        "turn 2 started", "call sendUserMessage in turn 2",
        "call sendUserMessage completed", "stream message x1 in turn 1", "turn 1 completed",
        "call echo completed",
        "call sendUserMessage completed", "stream message x1 in turn 2", "turn 2 completed",
    ]  # fmt: skip


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


def test_the_first_generation_of_aiwhisperer() -> None:
    stage = Play()
    stage.play(START)
    assert stage.play(
        """
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"a"}}
        << {"method":"toolExecutionStarted","params":{"sessionId":"s1","toolName":"ls"}}
        +0.2
        << {"method":"toolExecutionCompleted","params":{"sessionId":"s1","toolName":"ls","durationMs":200}}
        << {"method":"AIMessageChunkNotification","params":{"sessionId":"s1","chunk":"x","isFinal":false}}
        << {"method":"AIMessageChunkNotification","params":{"sessionId":"s1","chunk":"y","isFinal":true}}
        """
    ) == [
        "turn 1 started", "call sendUserMessage in turn 1",
        "notification toolExecutionStarted in turn 1", "tool ls started in turn 1",
        "notification toolExecutionCompleted in turn 1", "tool ls completed in turn 1",
        "stream message x2 in turn 1",
    ]  # fmt: skip


# -- ACP ------------------------------------------------------------------------------------------

ACP_START = """
    >> {"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}
    << {"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1,"agentInfo":{"name":"claude"}}}
    >> {"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}
    << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1"}}
    >> {"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"s1","prompt":[{"type":"text","text":"hi"}]}}
"""


def update(**fields: object) -> str:
    import json

    params = {"sessionId": "s1", "update": fields}
    return "<< " + json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params})


def test_acp_tools_are_merged_by_id() -> None:
    stage = Play()
    stage.play(ACP_START)
    told = stage.play(
        "\n".join(
            [
                update(sessionUpdate="tool_call", toolCallId="c1", kind="execute", status="pending",
                       rawInput={"command": "ls"}),
                update(sessionUpdate="tool_call_update", toolCallId="c1", status="in_progress"),
                "+2",
                update(sessionUpdate="tool_call_update", toolCallId="c1", status="failed",
                       rawOutput={"exitCode": 1}),
                update(sessionUpdate="tool_call_update", toolCallId="c1", content=[]),
            ]
        )
    )  # fmt: skip
    assert [line for line in told if line.startswith("tool")] == [
        "tool execute started in turn 1", "tool execute failed tool_error in turn 1",
    ]  # fmt: skip
    (tool,) = stage.of(ev.ToolEnded)
    assert tool.tool.arguments == {"command": "ls"}
    assert tool.tool.result == {"exitCode": 1}
    assert stage.connection.session.info.agent == "claude"


def test_acp_a_permission_waits_for_the_user_and_a_cancelled_turn_is_no_error() -> None:
    stage = Play()
    stage.play(ACP_START)
    stage.play(
        '<< {"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s1"}}'
    )
    waiting = [call for call in stage.connection.pending_calls if call.waits_for_user]
    assert [call.method for call in waiting] == ["session/request_permission"]
    assert stage.play(
        """
        >> {"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"s1"}}
        >> {"jsonrpc":"2.0","id":0,"result":{"outcome":{"outcome":"cancelled"}}}
        << {"jsonrpc":"2.0","id":2,"result":{"stopReason":"cancelled"}}
        """
    )[-1] == "turn 1 cancelled"  # fmt: skip


def test_acp_tools_that_a_turn_leaves_open_end_with_it() -> None:
    stage = Play()
    stage.play(ACP_START)
    stage.play(update(sessionUpdate="tool_call", toolCallId="c1", kind="read", status="pending"))
    assert stage.play('<< {"jsonrpc":"2.0","id":2,"result":{"stopReason":"end_turn"}}') == [
        "call session/prompt completed", "tool read aborted turn_ended in turn 1",
        "turn 1 completed",
    ]  # fmt: skip
    late = update(sessionUpdate="tool_call_update", toolCallId="c1", status="completed")
    assert stage.play(late) == ["notification session/update"]


def test_acp_replayed_history_runs_no_tool() -> None:
    stage = Play()
    stage.play(
        """
        >> {"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}
        >> {"jsonrpc":"2.0","id":1,"method":"session/load","params":{"sessionId":"s1"}}
        """
    )
    stage.play(update(sessionUpdate="user_message_chunk", content={"type": "text", "text": "q"}))
    stage.play(update(sessionUpdate="tool_call", toolCallId="c1", status="completed"))
    stage.play(update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "a"}))
    stage.play('<< {"jsonrpc":"2.0","id":1,"result":{}}')
    assert stage.of(ev.ToolStarted) == []
    assert {event.stream.kind for event in stage.of(ev.StreamAdvanced)} == {"history"}


# -- Codex ----------------------------------------------------------------------------------------

CODEX_START = """
    >> {"id":1,"method":"initialize","params":{"clientInfo":{"name":"x"}}}
    << {"id":1,"result":{}}
    >> {"id":2,"method":"thread/start","params":{"cwd":"/"}}
    << {"id":2,"result":{"thread":{"id":"T1"}}}
    >> {"id":3,"method":"turn/start","params":{"threadId":"T1","input":[{"type":"text","text":"go"}]}}
    << {"id":3,"result":{"turn":{"id":"t1","status":"inProgress"}}}
    << {"method":"turn/started","params":{"threadId":"T1","turn":{"id":"t1"}}}
"""
CODEX_DONE = (
    '<< {"method":"turn/completed","params":{"threadId":"T1","turn":{"id":"%s","status":"%s"}}}'
)


def test_codex_turn_outlives_its_request() -> None:
    stage = Play()
    assert "turn 1 completed" not in stage.play(CODEX_START)
    assert stage.play(CODEX_DONE % ("t1", "completed")) == [
        "notification turn/completed in turn 1", "turn 1 completed",
    ]  # fmt: skip
    assert stage.play(CODEX_DONE % ("t1", "completed")) == ["notification turn/completed in turn 1"]


def test_codex_turn_start_on_a_busy_thread_steers_the_same_turn() -> None:
    stage = Play()
    stage.play(CODEX_START)
    stage.play(
        """
        >> {"id":4,"method":"turn/start","params":{"threadId":"T1","input":[]}}
        << {"id":4,"result":{"turn":{"id":"t1"}}}
        """
    )
    assert len(stage.of(ev.TurnStarted)) == 1
    stage.play(CODEX_DONE % ("t1", "failed"))
    assert stage.of(ev.TurnEnded)[0].turn.error_type == "turn_failed"


def test_codex_turn_start_on_a_busy_thread_may_begin_another_turn() -> None:
    stage = Play()
    stage.play(CODEX_START)
    assert stage.play(
        """
        >> {"id":4,"method":"turn/start","params":{"threadId":"T1","input":[]}}
        << {"id":4,"result":{"turn":{"id":"t2"}}}
        """
    ) == ["call turn/start in turn 1", "call turn/start completed", "turn 2 started"]
    stage.play(CODEX_DONE % ("t2", "completed"))
    assert [event.turn.number for event in stage.of(ev.TurnEnded)] == [2]


def test_codex_turn_that_the_server_begins_by_itself() -> None:
    stage = Play()
    stage.play(CODEX_START)
    stage.play(CODEX_DONE % ("t1", "completed"))
    assert stage.play('<< {"method":"turn/started","params":{"threadId":"T1","turn":{"id":"t2"}}}') == [
        "turn 2 started", "notification turn/started in turn 2",
    ]  # fmt: skip


def test_codex_a_turn_seen_on_two_connections_is_one_turn() -> None:
    stage = Play()
    stage.play(CODEX_START)
    item = '<< {"method":"%s","params":{"threadId":"T1","turnId":"t1","item":{"type":"commandExecution","id":"i1","command":"ls","status":"%s"}}}'
    stage.play(
        "conn B\n" + '<< {"method":"turn/started","params":{"threadId":"T1","turn":{"id":"t1"}}}'
    )
    for connection in "AB":
        stage.play(f"conn {connection}\n" + item % ("item/started", "inProgress"))
    for connection in "BA":
        stage.play(f"conn {connection}\n" + item % ("item/completed", "completed"))
    for connection in "BA":
        stage.play(f"conn {connection}\n" + CODEX_DONE % ("t1", "completed"))
    assert len(stage.of(ev.TurnStarted)) == len(stage.of(ev.TurnEnded)) == 1
    assert len(stage.of(ev.ToolStarted)) == len(stage.of(ev.ToolEnded)) == 1
    assert {event.turn.number for event in stage.of(ev.NotificationSeen) if event.turn} == {1}


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


def test_codex_usage_is_the_difference_of_totals() -> None:
    stage = Play()
    stage.play(CODEX_START)
    usage = '<< {"method":"thread/tokenUsage/updated","params":{"threadId":"T1","turnId":"t1","tokenUsage":{"total":{"inputTokens":%d,"outputTokens":%d}}}}'
    told = [line for n in ((100, 5), (100, 5), (250, 9)) for line in stage.play(usage % n)]
    assert [line for line in told if line.startswith("usage")] == ["usage 100+5", "usage 150+4"]


def test_codex_approval_that_another_connection_answered_is_resolved() -> None:
    stage = Play()
    stage.play(CODEX_START)
    assert stage.play(
        """
        << {"id":0,"method":"item/commandExecution/requestApproval","params":{"threadId":"T1"}}
        << {"method":"serverRequest/resolved","params":{"threadId":"T1","requestId":0}}
        """
    )[-1] == "call item/commandExecution/requestApproval completed"  # fmt: skip


def test_codex_errors_that_will_be_retried_are_told() -> None:
    stage = Play()
    stage.play(CODEX_START)
    told = stage.play(
        '<< {"method":"error","params":{"threadId":"T1","turnId":"t1","error":{"message":"429"},"willRetry":true}}'
    )
    assert told == ["notification error in turn 1", "error 429 will retry"]


# -- MCP and generic ------------------------------------------------------------------------------


def test_mcp_tool_call_is_a_tool_and_is_error_its_failure() -> None:
    stage = Play()
    assert stage.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1}}}
        << {"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}
        """
    ) == [
        "session conn-A started", "tool add started", "call tools/call",
        "tool add failed tool_error", "call tools/call failed tool_error",
    ]  # fmt: skip
    assert stage.connection.dialect.name == "mcp"
    assert stage.connection.session.info.errors == 1


def test_mcp_a_server_says_which_tools_may_be_called_again() -> None:
    stage = Play("mcp")
    told = stage.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/list"}
        << {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"b"},{"annotations":{"idempotentHint":true}},{"name":"c","annotations":{"idempotentHint":true}}]}}
        >> {"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"cursor":"x"}}
        << {"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"d"}]}}
        """
    )
    assert [story for story in told if story.startswith("tools")] == [
        "tools listed, repeatable a c"
    ]
    assert stage.connection.session.repeatable == {"a", "c"}


MCP_TOOL = '>> {"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","_meta":{"progressToken":%s}}}'
MCP_PROGRESS = (
    '<< {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s}}'
)
MCP_LOG = '<< {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}'
MCP_ASK = '<< {"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage","params":{}}'


def test_mcp_progress_is_part_of_the_call_whose_token_it_has() -> None:
    stage = Play("mcp")
    for number, tool, token in ((1, "a", "1"), (2, "b", '"1"'), (3, "c", "2")):
        stage.play(MCP_TOOL % (number, tool, token))
    for token in ('"1"', "1", "2", "3", "null", "true", "[1]"):
        stage.play(MCP_PROGRESS % token)
    calls = [event.call for event in stage.of(ev.NotificationSeen)]
    tools = [call and call.tool and call.tool.name for call in calls]
    assert tools == ["b", "a", "c", None, None, None, None]


def test_mcp_what_a_server_asks_and_logs_while_it_runs_one_tool_is_part_of_that() -> None:
    stage = Play("mcp")
    stage.play(f"{MCP_LOG}\n{MCP_TOOL % (1, 'a', 'null')}\n{MCP_LOG}\n{MCP_ASK % 1}")
    stage.play(f"{MCP_TOOL % (2, 'b', 'null')}\n{MCP_LOG}\n{MCP_ASK % 2}")
    logs = [event.call and event.call.id for event in stage.of(ev.NotificationSeen)]
    assert logs == [None, 1, None]
    asked = [e.call.part_of for e in stage.of(ev.CallStarted) if e.call.tool is None]
    assert [call and call.id for call in asked] == [1, None]


def test_mcp_cancelled_request_gets_no_answer() -> None:
    stage = Play("mcp")
    stage.play('>> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}')
    assert stage.play(
        '>> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'
    ) == [
        "notification notifications/cancelled",
        "tool add cancelled", "call tools/call cancelled cancelled",
    ]  # fmt: skip
    assert stage.connection.pending_calls == []


def test_mcp_an_answer_to_a_cancelled_request_is_known_as_late_but_once() -> None:
    stage = Play("mcp")
    stage.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}
        >> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}
        << {"jsonrpc":"2.0","id":1,"error":{"code":0,"message":"Request cancelled"}}
        << {"jsonrpc":"2.0","id":1,"error":{"code":0,"message":"Request cancelled"}}
        << {"jsonrpc":"2.0","id":{"a":1},"result":{}}
        """
    )
    assert [e.cancelled for e in stage.of(ev.StraySeen)] == ["tools/call", None, None]
    assert stage.connection.session.info.errors == 0


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


def test_a_users_own_dialect() -> None:
    dialect = Dialect.from_toml(
        """
        name = "mine"
        [session]
        named = true
        id = ["params.room"]
        [[rule]]
        role = "session_start"
        on = "response"
        method = "join"
        id = "result.room"
        [[rule]]
        role = "turn"
        method = "ask"
        [[rule]]
        role = "tool"
        method = "ran"
        id = "params.run"
        name = "params.what"
        status = "params.state"
        outcomes = { ok = "completed", bad = "failed" }
        """,
        "mine.toml",
    )
    stage = Play(dialect)
    assert stage.play(
        """
        >> {"id":1,"method":"join"}
        << {"id":1,"result":{"room":"kitchen"}}
        >> {"id":2,"method":"ask","params":{"room":"kitchen"}}
        << {"method":"ran","params":{"room":"kitchen","run":7,"what":"oven","state":"bad"}}
        << {"id":2,"result":0}
        """
    ) == [
        "call join", "session kitchen started", "call join completed",
        "turn 1 started", "call ask in turn 1", "notification ran in turn 1",
        "tool oven started in turn 1", "tool oven failed error in turn 1",
        "call ask completed", "turn 1 completed",
    ]  # fmt: skip


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


def test_what_comes_from_the_wire_as_a_duration_may_be_nonsense() -> None:
    stage = Play()
    stage.play(START)
    for duration in ("NaN", "1e400", "-5", '"x"', "1e300"):
        stage.play(
            '<< {"method":"toolExecutionCompleted","params":{"sessionId":"s1","toolName":"ls",'
            f'"durationMs":{duration}}}}}'
        )
    assert len(stage.of(ev.ToolEnded)) == 5
    assert all(event.tool.started_ns == 0 for event in stage.of(ev.ToolEnded))
