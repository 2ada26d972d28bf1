"""Why a session has stalled, by its snapshot."""

from __future__ import annotations

import pytest

from tests.intervention.scripts.running import (
    HUNG_TOOL,
    MID_TASK,
    calls,
    causes,
    run,
    session_of,
)
from tests.intervention.told import Told
from tests.session.openings import ACP_START


@pytest.mark.parametrize(
    ("dialect", "transcript", "cause", "text"),
    [
        ("acp", HUNG_TOOL, ("hung_tool", "search"), "search, for 40 s"),
        ("acp", ACP_START + "+40", ("silent_turn", "session/prompt"), "for 40 s"),
        ("aiwhisperer", MID_TASK, ("ended_mid_task", "sendUserMessage"), "no answer came"),
        ("generic", '>> {"id":1,"method":"m"}\n+40', ("unanswered_call", "m"), "m, for 40 s"),
    ],
)
async def test_a_stall_is_explained(
    dialect: str, transcript: str, cause: tuple[str, str], text: str
) -> None:
    stage = Told(dialect, transcript)
    outcome = await run("analyze_stall", stage.snapshot(stage.alert("session_stall")))
    assert causes(outcome) == [cause]
    assert text in outcome.summary


async def test_errors_and_repetition_before_a_stall_are_named() -> None:
    failing = calls(("read", 1, False), *[("fetch", 1, True)] * 3)
    stage = Told("mcp", failing + '\n>> {"jsonrpc":"2.0","id":9,"method":"tools/list"}\n+40')
    outcome = await run("analyze_stall", session_of(stage))
    assert causes(outcome) == [
        ("unanswered_call", "tools/list"),
        ("errors_before_stall", "fetch"),
        ("repetition_before_stall", "fetch"),
    ]
    assert (
        "the last 3 steps before the silence failed (fetch: tool_error)"
        in (outcome.findings[1]["text"])
    )


async def test_who_waits_for_a_person_has_not_hung() -> None:
    asked = '<< {"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s1"}}'
    outcome = await run("analyze_stall", session_of(Told("acp", f"{ACP_START}{asked}\n+300")))
    assert causes(outcome) == [("waits_for_user", "session/request_permission")]
