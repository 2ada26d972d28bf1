"""prompt_injection: which words are said, and in which message; with sockets: tests/app/channels."""

from __future__ import annotations

import pytest

from debbie_otel.intervention.steps import DoneKind
from debbie_otel.intervention.strategies.prompt_injection import inject_prompt
from tests.intervention.stage import HUNG, LivePlay
from tests.session.openings import ACP_START, CODEX_START, MCP_TOOL, START


@pytest.mark.parametrize(
    ("dialect", "begins", "method", "channel"),
    [
        ("aiwhisperer", f"{START}\n{HUNG}", "sendUserMessage", "side"),
        ("aiwhisperer", START, "sendUserMessage", "same"),
        ("acp", ACP_START, "session/prompt", "same"),
        ("codex", CODEX_START, "turn/steer", "same"),
    ],
)
async def test_each_dialect_has_its_way(
    dialect: str, begins: str, method: str, channel: str
) -> None:
    attempt = await LivePlay(dialect, begins).attempt(prompts={"session_stall": ["Go on."]})
    said = attempt.say(attempt.prompt())
    assert said is not None
    act, params = said
    assert (act.method, act.channel) == (method, channel)
    assert "Go on." in str(params)
    assert "$" not in str(params)


async def test_a_dialect_without_prompts() -> None:
    attempt = await LivePlay("mcp", MCP_TOOL % (1, "grep", 1)).attempt()
    done = await inject_prompt(attempt)
    assert (done.kind, done.reason) == (DoneKind.IMPOSSIBLE, "dialect")
