"""Calls and tools as spans."""

from __future__ import annotations

from opentelemetry.trace import StatusCode

from debbie_otel.telemetry.connection_spans import RecorderOptions
from tests.play import Play
from tests.telemetry.spantree import SESSION, TURN, Recorded, attributes, tree


def test_a_reported_tool_has_no_length_and_says_why() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    recorded.play(TURN)
    tool = recorded.named("execute_tool ls")
    assert tool.start_time == tool.end_time
    assert attributes(recorded, "execute_tool ls") == {
        "debbie.connection.id": "conn-A",
        "session.id": "s1",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "ls",
        "gen_ai.tool.call.id": "c1",
        "debbie.tool.outcome": "completed",
        "debbie.tool.timing": "reported",
    }


def test_errors_are_told_with_their_code() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    recorded.play(
        """
        >> {"id":7,"method":"nope","params":{}}
        << {"id":7,"error":{"code":-32601,"message":"Method not found"}}
        >> {"id":8,"method":"sendUserMessage","params":{"sessionId":"s1"}}
        << {"id":8,"result":{"ai_response":null,"tool_calls":[]}}
        """
    )
    call, turn = recorded.named("nope"), recorded.named("invoke_agent aiwhisperer")
    assert call.status.status_code is StatusCode.ERROR
    assert call.status.description == "Method not found"
    assert attributes(recorded, "nope")["error.type"] == "-32601"
    assert attributes(recorded, "nope")["rpc.response.status_code"] == "-32601"
    assert turn.status.status_code is StatusCode.ERROR
    assert attributes(recorded, "invoke_agent aiwhisperer")["error.type"] == "null_response"


def test_mcp_tool_call_is_one_span_by_mcp_names() -> None:
    recorded = Recorded(Play("mcp"), mcp=True)
    recorded.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1}}}
        << {"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}
        """
    )
    assert tree(recorded.spans) == [
        "debbie.session.start [INTERNAL]",
        "tools/call add [SERVER] ERROR",
    ]
    found = attributes(recorded, "tools/call add")
    assert found["mcp.method.name"] == "tools/call"
    assert found["gen_ai.tool.name"] == "add"
    assert found["gen_ai.operation.name"] == "execute_tool"
    assert found["jsonrpc.protocol.version"] == "2.0"
    assert found["error.type"] == "tool_error"


def test_content_that_is_asked_for_is_recorded_without_secrets() -> None:
    recorded = Recorded(Play("mcp"), RecorderOptions(capture_content=True), mcp=True)
    recorded.play(
        """
        >> {"id":1,"method":"tools/call","params":{"name":"get","arguments":{"url":"/x","api_key":"abc"}}}
        << {"id":1,"result":{"content":[{"type":"text","text":"Bearer abcdefghijklmnop"}]}}
        """
    )
    found = attributes(recorded, "tools/call get")
    assert found["gen_ai.tool.call.arguments"] == '{"url":"/x","api_key":"[redacted]"}'
    assert found["gen_ai.tool.call.result"] == '[{"type":"text","text":"[redacted]"}]'
