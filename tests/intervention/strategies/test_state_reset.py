"""state_reset: what can be cancelled; with sockets: tests/app/channels."""

from __future__ import annotations

import pytest

from debbie_otel.intervention.steps import DoneKind
from debbie_otel.intervention.strategies.state_reset import reset_state
from tests.intervention.stage import LivePlay
from tests.session.openings import ACP_START, CODEX_START, MCP_TOOL

MCP_DONE = '<< {"jsonrpc":"2.0","id":1,"result":{"content":[]}}'


@pytest.mark.parametrize(
    ("dialect", "begins", "methods"),
    [
        ("acp", ACP_START, ["session/cancel"]),
        ("codex", CODEX_START, ["turn/interrupt"]),
        ("mcp", MCP_TOOL % (1, "grep", 1), ["notifications/cancelled"]),
    ],
)
async def test_what_runs_is_cancelled_in_the_dialects_way(
    dialect: str, begins: str, methods: list[str]
) -> None:
    attempt = await LivePlay(dialect, begins).attempt()
    assert [act.method for act, _ in attempt.cancels()] == methods


async def test_nothing_runs_and_nothing_can_be_said() -> None:
    attempt = await LivePlay("mcp", f"{MCP_TOOL % (1, 'grep', 1)}\n{MCP_DONE}").attempt()
    done = await reset_state(attempt)
    assert (done.kind, done.reason) == (DoneKind.IMPOSSIBLE, "dialect")
