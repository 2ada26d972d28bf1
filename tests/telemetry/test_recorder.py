from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import StatusCode

from debbie_otel.session.model import TraceContext
from debbie_otel.telemetry.connection_spans import RecorderOptions, span_context
from debbie_otel.telemetry.recorder import RECORDED, Recorder
from tests.play import SECOND, Play
from tests.session.openings import ACP_START, CODEX_DONE, CODEX_START, START, update
from tests.telemetry.spantree import Recorded, tree

TURN = """
    >> {"jsonrpc":"2.0","id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"list"}}
    +1
    << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"o"}}
    +0.5
    << {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"ok"}}
    << {"method":"ChannelMessageNotification","params":{"metadata":{"sessionId":"s1"}}}
    >> {"jsonrpc":"2.0","id":3,"method":"echo","params":{}}
    << {"jsonrpc":"2.0","id":3,"result":{}}
    << {"jsonrpc":"2.0","id":2,"result":{"ai_response":"ok","tool_calls":[{"id":"c1","function":{"name":"ls","arguments":"{}"}}]}}
"""


def attributes(recorded: Recorded, name: str) -> dict[str, Any]:
    return dict(recorded.named(name).attributes or {})


def test_a_trace_per_turn() -> None:
    recorded = Recorded(Play())
    recorded.play(START)
    recorded.play(TURN)
    recorded.close()
    assert tree(recorded.spans) == [
        "debbie.session.start [INTERNAL]",
        "startSession [SERVER]",
        "invoke_agent aiwhisperer [SERVER]",
        "  StreamingUpdate [CLIENT]",
        "  ChannelMessageNotification [CLIENT]",
        "  echo [SERVER]",
        "  execute_tool ls [INTERNAL]",
        "debbie.session.end [INTERNAL]",
    ]
    turn = recorded.named("invoke_agent aiwhisperer")
    assert (turn.start_time, turn.end_time) == (0, SECOND + SECOND // 2)
    assert dict(turn.attributes or {}) == {
        "debbie.connection.id": "conn-A",
        "session.id": "s1",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "aiwhisperer",
        "gen_ai.conversation.id": "s1",
        "rpc.method": "sendUserMessage",
        "jsonrpc.request.id": "2",
        "debbie.turn.number": 1,
        "debbie.turn.outcome": "completed",
        "debbie.turn.tools": 1,
        "debbie.turn.failed_tools": 0,
        "debbie.turn.calls": 2,
        "debbie.request.size": 96,
        "debbie.response.size": 123,
    }
    assert turn.status.status_code is StatusCode.UNSET


def test_links_lead_to_the_start_of_the_session_and_the_turn_before() -> None:
    recorded = Recorded(Play())
    recorded.play(START)
    recorded.play(TURN)
    recorded.play(TURN)
    start = recorded.named("debbie.session.start")
    first, second = [s for s in recorded.spans if s.name.startswith("invoke_agent")]
    assert [link.context.span_id for link in first.links] == [start.context.span_id]
    assert [link.context.span_id for link in second.links] == [
        start.context.span_id,
        first.context.span_id,
    ]
    assert [dict(link.attributes or {})["debbie.link"] for link in second.links] == [
        "session_start",
        "previous_turn",
    ]


def test_a_run_of_chunks_is_one_span_with_its_rhythm() -> None:
    recorded = Recorded(Play())
    recorded.play(START)
    recorded.play(TURN)
    stream = attributes(recorded, "StreamingUpdate")
    assert stream["debbie.stream.chunks"] == 2
    assert stream["debbie.stream.time_to_first_chunk"] == 1.0
    assert stream["debbie.stream.longest_gap"] == 0.5
    assert stream["debbie.stream.kind"] == "message"
    assert stream["debbie.stream.bytes"] == 141


def test_chunks_can_be_spans_of_their_own_or_none() -> None:
    for mode, count in (("span", 2), ("off", 0)):
        recorded = Recorded(Play(), RecorderOptions(stream_chunks=mode))  # type: ignore[arg-type]
        recorded.play(START)
        recorded.play(TURN)
        assert sum(span.name == "StreamingUpdate" for span in recorded.spans) == count


def test_a_reported_tool_has_no_length_and_says_why() -> None:
    recorded = Recorded(Play())
    recorded.play(START)
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
    recorded.play(START)
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


def test_codex_root_lasts_until_the_turn_is_over() -> None:
    recorded = Recorded(Play())
    recorded.play(CODEX_START)
    assert not [span for span in recorded.spans if span.name.startswith("invoke_agent")]
    recorded.play("+3\n" + CODEX_DONE % ("t1", "completed"))
    turn = recorded.named("invoke_agent codex")
    assert turn.end_time == 3 * SECOND
    assert attributes(recorded, "invoke_agent codex")["debbie.turn.id"] == "t1"
    assert attributes(recorded, "invoke_agent codex")["gen_ai.response.finish_reasons"] == [
        "completed"
    ]
    assert tree(recorded.spans)[-3:] == [
        "invoke_agent codex [SERVER]",
        "  turn/started [CLIENT]",
        "  turn/completed [CLIENT]",
    ]


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


def test_the_callers_trace_goes_on() -> None:
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    recorded = Recorded(Play("mcp"), sampler=DEFAULT_ON, mcp=True)
    for flags in ("01", "03"):
        recorded.play(
            f'>> {{"id":1,"method":"ping","params":{{"_meta":{{"traceparent":"00-{trace_id}-{parent_id}-{flags}"}}}}}}\n'
            '<< {"id":1,"result":{}}'
        )
    calls = [span for span in recorded.spans if span.name == "ping"]
    assert len(calls) == 2
    for call in calls:
        assert call.parent is not None
        assert format(call.context.trace_id, "032x") == trace_id
        assert format(call.parent.span_id, "016x") == parent_id
    recorded.play(
        f'>> {{"id":2,"method":"unsampled","params":{{"_meta":{{"traceparent":"00-{trace_id}-{parent_id}-00"}}}}}}\n'
        '<< {"id":2,"result":{}}'
    )
    assert not [span for span in recorded.spans if span.name == "unsampled"]


def test_a_trace_context_that_is_none_is_left_alone() -> None:
    for text in ("", "00-0-0-01", "garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        assert span_context(TraceContext(text)) is None


def test_what_is_not_sampled_is_counted_all_the_same() -> None:
    recorded = Recorded(Play(), sampler=ALWAYS_OFF)
    recorded.play(START)
    recorded.play(TURN)
    assert recorded.spans == []
    assert sum(count for count, _ in recorded.instruments._messages.values()) == 9


def test_a_connection_that_ends_leaves_no_span_open() -> None:
    recorded = Recorded(Play())
    recorded.play(ACP_START)
    recorded.play(update(sessionUpdate="tool_call", toolCallId="c1", kind="read", status="pending"))
    recorded.close()
    assert tree(recorded.spans)[-4:] == [
        "invoke_agent acp [SERVER] ERROR".replace("acp", "claude"),
        "  session/update [CLIENT]",
        "  execute_tool read [INTERNAL] ERROR",
        "debbie.session.end [INTERNAL]",
    ]
    assert attributes(recorded, "invoke_agent claude")["error.type"] == "connection_closed"
    assert recorded.instruments.sessions_active == 0


def test_strays_are_spans_of_their_own() -> None:
    recorded = Recorded(Play("generic"))
    recorded.play(
        """
        << {"id":5,"result":1}
        << {"id":null,"error":{"code":-32700,"message":"Parse error"}}
        >> not json
        """
    )
    assert tree(recorded.spans) == [
        "debbie.session.start [INTERNAL]",
        "debbie.message.unmatched [CLIENT]",
        "debbie.message.unmatched [CLIENT] ERROR",
        "debbie.message.unknown [SERVER]",
    ]


CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)


def test_content_stays_here_unless_it_is_asked_for() -> None:
    recorded = Recorded(Play())
    recorded.play(START)
    recorded.play(TURN)
    recorded.close()
    assert not [span for span in recorded.spans if set(CONTENT) & set(span.attributes or {})]


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


@pytest.mark.parametrize("dialect", ["aiwhisperer", "acp", "codex"])
def test_every_span_of_a_recording_names_its_session(dialect: str) -> None:
    from tests.play import recording

    recorded = Recorded(recording(dialect))
    recorded.catch_up()
    assert all((span.attributes or {}).get("session.id") for span in recorded.spans)
    assert recorded.instruments.sessions_active == 0


def test_every_kind_that_is_recorded_has_its_branch() -> None:
    """And no other kind has one: whoever subscribes does so for these alone."""
    source = inspect.getsource(Recorder.on_event)
    compared = re.findall(r"type\(event\) is ev\.(\w+)", source)
    assert compared == [kind.__name__ for kind in RECORDED]
