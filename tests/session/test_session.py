"""Turns and tools of one session, as wire transcripts."""

from __future__ import annotations

import pytest

from debbie_otel.session import events as ev
from tests.play import Play
from tests.session.cost import lines_run
from tests.session.openings import ACP_START, CODEX_DONE, CODEX_START, START, update


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


def test_codex_usage_is_the_difference_of_totals() -> None:
    stage = Play()
    stage.play(CODEX_START)
    usage = '<< {"method":"thread/tokenUsage/updated","params":{"threadId":"T1","turnId":"t1","tokenUsage":{"total":{"inputTokens":%d,"outputTokens":%d}}}}'
    told = [line for n in ((100, 5), (100, 5), (250, 9)) for line in stage.play(usage % n)]
    assert [line for line in told if line.startswith("usage")] == ["usage 100+5", "usage 150+4"]


TURN = '<< {"method":"turn/%s","params":{"threadId":"T1","turn":{"id":"t%d","status":"completed"}}}'
ITEM = (
    '<< {"method":"item/%s","params":{"threadId":"T1","turnId":"t1",'
    '"item":{"id":"i%d","type":"commandExecution","status":"completed"}}}'
)
CHUNK = (
    '<< {"method":"item/agentMessage/delta","params":{"threadId":"T1","turnId":"t%d",'
    '"itemId":"%s","delta":"a"}}'
)


def cost_with(count: int, before: str, step: str) -> int:
    """Return what a step costs after `count` lines like `before`."""
    stage = Play("codex")
    stage.play(CODEX_START)
    for number in range(2, count + 2):
        stage.play(before.replace("%d", str(number)))
    return lines_run(lambda: stage.play(step.replace("%d", str(count + 1))))


@pytest.mark.parametrize(
    ("before", "step"),
    [
        (TURN % ("started", 0), CHUNK % (0, "x")),
        (TURN % ("started", 0), TURN % ("started", 9000)),
        (TURN % ("started", 0), TURN % ("completed", 0)),
        (ITEM % ("started", 0), TURN % ("started", 9000)),
        (ITEM % ("started", 0), ITEM % ("completed", 0)),
        ("conn C0\n" + CHUNK % (1, "x"), CHUNK % (1, "y")),
    ],
)
def test_a_message_costs_the_same_however_much_is_open(before: str, step: str) -> None:
    before, step = before.replace("t0", "t%d").replace("i0", "i%d"), step.replace("t0", "t%d")
    before, step = before.replace("C0", "C%d"), step.replace("i0", "i%d")
    assert cost_with(200, before, step) <= 1.1 * cost_with(2, before, step)
