from __future__ import annotations

from typing import Any

import pytest

from debbie_otel.intervention.records import InterventionResult
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.report.commentary import comment, comment_intervention
from tests.intervention.alerts import alert
from tests.intervention.attempts import attempt
from tests.play import Play
from tests.session.openings import ACP_START, CODEX_START, START, update


def lines(stage: Play) -> list[str]:
    return [line for event in stage.events if (line := comment(event)) is not None]


def test_a_session_is_told_line_by_line() -> None:
    stage = Play()
    stage.play(START)
    stage.play(
        """
        >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"list"}}
        +1.25
        << {"id":2,"result":{"ai_response":"ok","tool_calls":[{"id":"c","function":{"name":"ls"}}]}}
        >> {"id":3,"method":"nope"}
        << {"id":3,"error":{"code":-32601,"message":"Method not found"}}
        >> {"id":4,"method":"stopSession","params":{"sessionId":"s1"}}
        << {"id":4,"result":{"status":2}}
        """
    )
    assert lines(stage) == [
        "[DEBBIE] Session started: s1",
        "[DEBBIE] Tool execution: ls (duration: reported)",
        "[DEBBIE] Turn 1 completed in 1.2s",
        "[DEBBIE] Error: nope failed: Method not found",
        "[DEBBIE] Session ended: s1 (stopped; 1 turn, 1 tool call, 1 error)",
    ]


def test_tools_with_times_and_failures() -> None:
    stage = Play()
    stage.play(ACP_START)
    stage.play(
        "\n".join(
            [
                update(sessionUpdate="tool_call", toolCallId="c1", kind="execute"),
                "+0.245",
                update(sessionUpdate="tool_call_update", toolCallId="c1", status="failed"),
            ]
        )
    )
    assert lines(stage)[-1] == "[DEBBIE] Tool execution: execute (duration: 245ms) - failed"


def test_what_comes_from_the_wire_cannot_move_the_cursor() -> None:
    stage = Play()
    stage.play(CODEX_START)
    stage.play(
        r'<< {"method":"error","params":{"threadId":"T1","error":{"message":"\u001b[2Jx\ny"},'
        r'"willRetry":true}}'
    )
    assert lines(stage)[-1] == "[DEBBIE] Error reported:  [2Jx y (the agent tries again)"


# -- interventions --------------------------------------------------------------------------------


def step(phase: Any, **facts: Any) -> InterventionEvent:
    return InterventionEvent(phase, alert(), "prompt_injection", 1, 0, **facts)


def ended(result: InterventionResult, detail: str, reason: str = "") -> InterventionEvent:
    return step("ended", record=attempt(result=result, detail=detail, reason=reason))


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (step("triggered"), "[DEBBIE] Intervention triggered: PROMPT_INJECTION"),
        (step("acted"), None),
        (
            ended(InterventionResult.SUCCESS, "prompted; it streams"),
            "[DEBBIE] ✅ Intervention successful - agent resumed (prompted; it streams)",
        ),
        (
            ended(InterventionResult.FAILURE, "nothing\ncame"),
            "[DEBBIE] ❌ Intervention failed: PROMPT_INJECTION (nothing came)",
        ),
        (
            ended(InterventionResult.SKIPPED, "10 are the limit", reason="budget"),
            "[DEBBIE] Intervention skipped: PROMPT_INJECTION (budget: 10 are the limit)",
        ),
        (ended(InterventionResult.PARTIAL_SUCCESS, "the disk is full"), "[DEBBIE] 🔎 the disk is full"),
        (ended(InterventionResult.ESCALATED, "told log"), "[DEBBIE] 📣 Escalated: told log"),
    ],
)  # fmt: skip
def test_steps_of_an_intervention(event: InterventionEvent, line: str | None) -> None:
    assert comment_intervention(event) == line
