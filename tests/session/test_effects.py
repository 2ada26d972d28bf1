"""What the rules of the built-in dialects do, as wire transcripts."""

from __future__ import annotations

from debbie_otel.session import events as ev
from debbie_otel.session.dialect.dialect import Dialect
from tests.play import SECOND, Play
from tests.session.openings import ACP_START, CODEX_START, START, update


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
