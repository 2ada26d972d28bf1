"""What is a sign of life after an intervention, and what is not: wire transcripts and verdicts."""

from __future__ import annotations

import pytest

from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.loops import LoopDetector, LoopSettings, LoopSteps
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.session import events as ev
from tests.intervention.alerts import alert
from tests.play import Play
from tests.session.openings import (
    ACP_START,
    CODEX_START,
    MCP_PROGRESS,
    MCP_TOOL,
    START,
    update,
)

HUNG = '>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}'
OURS = (
    '>> {"id":"debbie-1","method":"sendUserMessage","params":{"sessionId":"s1","message":"go on"}}'
)


class Watched:
    """A stage with a watch on it: what happens from now on."""

    def __init__(self, stage: Play, alert_type: str, steps: LoopSteps | None = None) -> None:
        self.stage = stage
        session = next(
            e.session for e in reversed(stage.events) if e.session.started_ns is not None
        )
        self.watch = RecoveryWatch(alert(alert_type, session_id=session.id), steps)

    def then(self, transcript: str) -> str | None:
        """Play; return what moved."""
        before = len(self.stage.events)
        self.stage.play(transcript)
        for event in self.stage.events[before:]:
            if isinstance(event, ev.CallStarted) and str(event.call.id).startswith("debbie-"):
                event.call.injected = True
        for event in self.stage.events[before:]:
            self.watch.observe(event)
        return None if self.watch.moved is None else self.watch.moved.what


def stalled(dialect: str, transcript: str) -> Watched:
    stage = Play(dialect)
    stage.play(transcript)
    return Watched(stage, "session_stall")


def aiwhisperer() -> Watched:
    return stalled("aiwhisperer", f"{START}\n{HUNG}")


# -- a stall --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        ('<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"I"}}', "it streams (message)"),
        ('<< {"id":2,"result":{"ai_response":"done","tool_calls":[]}}', "turn 1 has come to its end"),
        ('<< {"id":2,"result":{"ai_response":"","tool_calls":[{"function":{"name":"ls"}}]}}', "ls has ended"),
        ('<< {"method":"toolExecutionStarted","params":{"sessionId":"s1","toolName":"ls"}}', "it runs ls"),
        ('<< {"method":"ChannelMessageNotification","params":{"metadata":{"sessionId":"s1"}}}', None),
        ('<< {"id":2,"error":{"code":-32603,"message":"no"}}', None),
        ('<< {"id":2,"result":{"ai_response":null,"tool_calls":[]}}', None),
        ('<< {"method":"StreamingUpdate","params":{"sessionId":"other","content":"I"}}', None),
        (f"{OURS}", None),
        (f'{OURS}\n<< {{"id":"debbie-1","result":{{"ai_response":"","tool_calls":[]}}}}', None),
        (f'{OURS}\n<< {{"id":"debbie-1","result":{{"ai_response":"here"}}}}', "turn 2 has come to its end"),
    ],
)  # fmt: skip
def test_what_ends_a_stall(line: str, moved: str | None) -> None:
    assert aiwhisperer().then(line) == moved


def test_an_acp_agent_moves_by_any_update_with_content_but_not_by_a_cancelled_turn() -> None:
    prompt = '>> {"id":3,"method":"session/prompt","params":{"sessionId":"s1","prompt":[{"type":"text","text":"go"}]}}'
    watched = stalled("acp", f"{ACP_START}\n{prompt}")
    assert watched.then('<< {"id":3,"result":{"stopReason":"cancelled"}}') is None
    assert (
        watched.then(
            update(sessionUpdate="user_message_chunk", content={"type": "text", "text": "old"})
        )
        is None
    )
    assert (
        watched.then(
            update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "on"})
        )
        == "it streams (message)"
    )


ACP_PROMPT = '>> {"id":%s,"method":"session/prompt","params":{"sessionId":"s1","prompt":[{"type":"text","text":"go"}]}}'
ACP_CHUNK = update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "on"})
ACP_TOOL = update(sessionUpdate="tool_call", toolCallId="t1", kind="read", status="in_progress")
ACP_TOOL_DONE = update(sessionUpdate="tool_call_update", toolCallId="t1", status="completed")
ACP_OUR_ANSWER = '<< {"id":"debbie-1","result":{"stopReason":"end_turn"}}'
ACP_ITS_ANSWER = '<< {"id":2,"result":{"stopReason":"end_turn"}}'


def prompted_beside(*before: str) -> Watched:
    """Return an ACP session whose turn hangs, and a prompt of ours on its way beside it."""
    watched = stalled("acp", "\n".join([ACP_START, *before]))
    watched.watch.again(watched.stage.now + 1)
    watched.watch.beside(watched.stage.connection.session)
    assert watched.then(ACP_PROMPT % '"debbie-1"') is None
    return watched


def test_a_prompt_that_is_answered_beside_a_hung_turn_does_not_help_that() -> None:
    watched = prompted_beside()
    assert watched.then(ACP_CHUNK) is None
    assert watched.watch.unsure, "it may be for either, so that it is worth to wait on"
    assert not watched.watch.answered
    assert watched.then(ACP_OUR_ANSWER) is None
    assert watched.watch.answered


@pytest.mark.parametrize(
    ("before", "then", "moved"),
    [
        ("", ACP_ITS_ANSWER, "turn 1 has come to its end"),
        ("", f"{ACP_CHUNK}\n{ACP_OUR_ANSWER}\n{ACP_CHUNK}", "it streams (message)"),
        ("", ACP_TOOL, None),
        (ACP_TOOL, ACP_TOOL_DONE, "read has ended"),
        ("", '<< {"id":2,"result":{"stopReason":"cancelled"}}', None),
        ("", f'<< {{"id":2,"result":{{"stopReason":"cancelled"}}}}\n{ACP_CHUNK}', "it streams (message)"),
    ],
)  # fmt: skip
def test_a_turn_that_hangs_beside_ours_has_to_move_itself(
    before: str, then: str, moved: str | None
) -> None:
    assert prompted_beside(*filter(None, [before])).then(then) == moved


@pytest.mark.parametrize(
    ("awaited", "moved"), [(False, "turn 3 has come to its end"), (True, None)]
)
def test_of_turns_of_ours_only_one_that_a_client_waits_for_has_to_move(
    awaited: bool, moved: str | None
) -> None:
    watched = aiwhisperer()
    assert watched.then(OURS) is None
    done = '<< {"id":2,"result":{"ai_response":"done","tool_calls":[]}}'
    assert watched.then(done) == "turn 1 has come to its end"
    watched.watch.again(watched.stage.now + 1)
    watched.watch.beside(watched.stage.connection.session, awaited=awaited)
    again = OURS.replace("debbie-1", "debbie-2")
    assert (
        watched.then(f'{again}\n<< {{"id":"debbie-2","result":{{"ai_response":"here"}}}}') == moved
    )


def test_a_new_attempt_is_not_beside_what_an_earlier_one_was() -> None:
    watched = prompted_beside()
    watched.watch.again()
    assert watched.then(ACP_CHUNK) == "it streams (message)"


def test_a_codex_server_that_takes_a_steer_has_not_moved() -> None:
    watched = stalled("codex", CODEX_START)
    steer = (
        '>> {"id":"debbie-1","method":"turn/steer","params":{"threadId":"T1","expectedTurnId":"t1"}}\n'
        '<< {"id":"debbie-1","result":{"turnId":"t1"}}\n'
        '<< {"method":"item/started","params":{"threadId":"T1","turnId":"t1","item":{"type":"userMessage","id":"i1"}}}'
    )
    assert watched.then(steer) is None
    interrupted = '<< {"method":"turn/completed","params":{"threadId":"T1","turn":{"id":"t1","status":"interrupted"}}}'
    assert watched.then(interrupted) is None
    run = '<< {"method":"item/started","params":{"threadId":"T1","turnId":"t2","item":{"type":"commandExecution","id":"i2","command":"ls"}}}'
    assert watched.then(run) == "it runs commandExecution"


def test_a_hung_mcp_tool_moves_when_it_answers_and_not_by_an_error() -> None:
    call = '>> {"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"dig"}}'
    watched = stalled("mcp", call % 1)
    assert (
        watched.then('<< {"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"restarted"}}')
        is None
    )
    done = '<< {"jsonrpc":"2.0","id":2,"result":{"content":[]}}'
    assert watched.then(f"{call % 2}\n{done}") == "dig has ended"


def test_a_silent_mcp_tool_moves_when_it_reports_progress() -> None:
    watched = stalled("mcp", MCP_TOOL % (1, "build", '"token"'))
    assert watched.then(MCP_PROGRESS % '"another"') is None
    assert watched.then(MCP_PROGRESS % '"token"') == "tools/call makes progress"


def test_a_session_that_ends_is_hopeless() -> None:
    watched = aiwhisperer()
    before = len(watched.stage.events)
    watched.stage.close()
    for event in watched.stage.events[before:]:
        watched.watch.observe(event)
    assert watched.watch.ended
    assert watched.watch.hopeless == "the session has ended (disconnected)"
    assert watched.watch.moved is None


def test_a_turn_of_ours_that_fails_is_hopeless_at_once() -> None:
    watched = aiwhisperer()
    failed = '<< {"id":"debbie-1","result":{"ai_response":null,"tool_calls":[]}}'
    assert watched.then(f"{OURS}\n{failed}") is None
    assert watched.watch.hopeless == "turn 2 failed: null_response"


def test_again_forgets_what_moved_before() -> None:
    watched = aiwhisperer()
    assert watched.then('<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"I"}}')
    watched.watch.again()
    assert watched.watch.moved is None


# -- a loop ---------------------------------------------------------------------------------------


def tool(name: str, **arguments: object) -> str:
    call = ",".join(f'\\"{key}\\":\\"{value}\\"' for key, value in arguments.items())
    return (
        f'{HUNG}\n<< {{"id":2,"result":{{"ai_response":"","tool_calls":[{{"function":'
        f'{{"name":"{name}","arguments":"{{{call}}}"}}}}]}}}}'
    )


def looping() -> Watched:
    stage = Play("aiwhisperer")
    loops = LoopDetector(LoopSettings())
    stage.play("\n".join([START, *[tool("read", path="a") for _ in range(6)]]))
    for event in stage.events:
        if isinstance(event, ev.ToolEnded):
            loops.tool_ended(event.tool)
    return Watched(stage, "tool_loop", loops.steps())


def test_more_of_the_same_is_no_recovery_and_soon_hopeless() -> None:
    watched = looping()
    assert watched.then(tool("read", path="a")) is None
    assert watched.watch.hopeless is None
    watched.then(tool("read", path="a"))
    watched.then(tool("read", path="a"))
    assert watched.watch.hopeless == "it goes on with read"


def test_another_tool_or_other_arguments_are_another_step() -> None:
    assert looping().then(tool("write", path="a")) == "it takes another step: write"
    assert looping().then(tool("read", path="b")) == "it takes another step: read"


def test_a_finished_turn_ends_a_loop() -> None:
    done = f'{HUNG}\n<< {{"id":2,"result":{{"ai_response":"done","tool_calls":[]}}}}'
    assert looping().then(done) == "turn 7 has come to its end"


# -- errors ---------------------------------------------------------------------------------------


def test_two_good_calls_in_a_row_end_an_error_burst() -> None:
    call = '>> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"dig"}}\n<< {"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":%s}}'
    stage = Play("mcp")
    stage.play(call % "true")
    watched = Watched(stage, "high_error_rate")
    assert watched.then(call % "false") is None
    assert watched.then(call % "true") is None
    assert watched.then(call % "false") is None
    assert watched.then(call % "false") == "2 calls without an error"


# -- what is measured -----------------------------------------------------------------------------


@pytest.mark.parametrize("alert_type", ["slow_response", "memory_spike", "a_rule_of_mine"])
def test_what_is_measured_is_over_when_the_alert_is(alert_type: str) -> None:
    watch = RecoveryWatch(alert(alert_type))
    watch.transition(Transition("resolved", alert(alert_type), 1))
    assert watch.moved is None, "of another alert"
    watch.transition(Transition("resolved", watch.alert, 1))
    assert watch.moved is not None


@pytest.mark.parametrize("alert_type", ["session_stall", "tool_loop"])
def test_a_stall_or_a_loop_is_not_over_by_our_own_doing(alert_type: str) -> None:
    watch = RecoveryWatch(alert(alert_type))
    watch.transition(Transition("resolved", watch.alert, 1))
    assert watch.moved is None
