"""Real telemetry: a scripted agent on a real socket, a proxy before it, conversations through both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import AgentClient, Conversation, converse
from debbie_otel.demo.script import Fault, ScriptedTurn, ToolCall
from debbie_otel.semconv import TURN_OUTCOME
from tests.integration.proxied import Proxied, config, proxied
from tests.integration.received import Span

READ = ToolCall("read_file", {"path": "a.md"}, 0.1)
HEALTHY = ScriptedTurn(text="It is done, and all checks are green.", tools=(READ,))
FAILS = ScriptedTurn(fault=Fault.ERROR)
STALLS = ScriptedTurn(tools=(READ,), fault=Fault.STALL)

SPEED = 1000.0
SILENCE = 0.6
"""Seconds of silence that are a stall here."""


class Traffic:
    """An agent behind a proxy, whose telemetry goes to a collector."""

    def __init__(self, proxy: Proxied) -> None:
        self.proxy = proxy

    async def talk(self, turns: int) -> Conversation:
        """Hold a conversation of that many turns."""
        return await converse(self.proxy.url(), [f"Task {number}" for number in range(turns)])

    async def stall(self) -> str:
        """Ask once, of an agent that stops mid-task; return what it says when it is told to go on."""
        async with AgentClient(self.proxy.url(), timeout=20) as client:
            session = (await client.call("startSession", userId="u"))["sessionId"]
            await client.call("sendUserMessage", sessionId=session, message="Read it.")
            said = await client.wait_for("ChannelMessageNotification")
            await client.call("stopSession", sessionId=session)
        return str(said["params"]["content"])

    @property
    def spans(self) -> int:
        """How many there were, none of which had to be given up; once the proxy has ended."""
        report = self.proxy.report
        assert report is not None
        assert (report.spooled, report.dropped) == (0, 0)
        return report.delivered


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Have telemetry leave the process at once, and not every few seconds."""
    patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    patch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "100")
    patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")


@contextlib.asynccontextmanager
async def traffic(
    otlp: str, data_dir: Path, script: Sequence[ScriptedTurn], *, intervene: bool = False
) -> AsyncIterator[Traffic]:
    """Run an agent, and a proxy before it.

    Args:
        otlp: URL that telemetry goes to.
        data_dir: For what cannot be delivered.
        script: A turn for each message, over all sessions; then the user's words are repeated.
        intervene: Whether Debbie acts on what she notices.

    """
    detection = {"enabled": True, "check_interval": 0.1, "stall_threshold": SILENCE}
    interventions = {"auto_continue": intervene}
    async with ScriptedAgent(script, one_script=True, speed=SPEED) as agent:
        settings = config(
            agent.url, data_dir, otlp, detection=detection, interventions=interventions
        )
        async with proxied(settings) as proxy:
            yield Traffic(proxy)


def outcomes(turns: Sequence[Span]) -> list[str]:
    """Return how the turns ended, in their order."""
    return [turn.attributes[TURN_OUTCOME] for turn in turns]
