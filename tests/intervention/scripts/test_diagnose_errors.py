"""What fails in a session, and how."""

from __future__ import annotations

from tests.intervention.scripts.running import (
    calls,
    causes,
    run,
    session_of,
)
from tests.intervention.told import Told


async def test_errors_are_counted_by_what_failed() -> None:
    stage = Told("mcp", calls(("read", 1, False), ("read", 1, True), *[("fetch", 1, True)] * 2))
    outcome = await run("diagnose_errors", session_of(stage))
    assert causes(outcome) == [
        ("always_fails", "fetch"),
        ("fails", "read"),
        ("nothing_succeeds", "read"),
    ]
    assert outcome.summary == "fetch failed 2 of 2 times with tool_error"
    assert "for 2 s (3 in a row)" in outcome.findings[2]["text"]


async def test_a_known_error_is_explained() -> None:
    wrong = '>> {"id":1,"method":"m"}\n<< {"id":1,"error":{"code":-32602,"message":"x"}}'
    outcome = await run("diagnose_errors", session_of(Told("generic", wrong)))
    assert outcome.summary == "m failed 1 of 1 times with -32602: the parameters are wrong"
