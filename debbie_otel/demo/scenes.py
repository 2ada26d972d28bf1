"""Four things that go wrong, played on a live wire: how each ends is Debbie's doing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from debbie_otel.demo.client import TIMEOUT, AgentClient
from debbie_otel.demo.script import ERRORS, LOOP, STALL, STUCK, ScriptedTurn

_FINAL = "ChannelMessageNotification"


class Mishap(msgspec.Struct, frozen=True):
    """One scene.

    Attributes:
        title: What goes wrong.
        turns: What the agent does, in order, over all its sessions.
        play: The user's part: gets a connection and a session, returns the agent's last words.

    """

    title: str
    turns: tuple[ScriptedTurn, ...]
    play: Callable[[AgentClient, str], Awaitable[str]]


async def _waits_for_an_answer(client: AgentClient, session: str) -> str:
    """Ask once, and wait for as long as it takes."""
    message = "Deploy the release, and tell me when the checks are green."
    result = await client.call("sendUserMessage", sessionId=session, message=message)
    return str(result["ai_response"])


async def _waits_for_more(client: AgentClient, session: str) -> str:
    """Ask once; what comes back is empty, so that more has to come."""
    message = "Write the report on retries."
    result = await client.call("sendUserMessage", sessionId=session, message=message)
    assert result["ai_response"] == ""
    return str((await client.wait_for(_FINAL))["params"]["content"])


async def _searches(client: AgentClient, session: str) -> str:
    message = "Which test is the flaky one?"
    result = await client.call("sendUserMessage", sessionId=session, message=message)
    return str(result["ai_response"])


async def _keeps_asking(client: AgentClient, session: str) -> str:
    """Ask again and again, and get no answer."""
    for _ in range(4):
        await client.call("sendUserMessage", sessionId=session, message="What is the status?")
    return str((await client.wait_for(_FINAL))["params"]["content"])


MISHAPS = (
    Mishap("A turn ends after its tool call, and nothing follows.", STALL, _waits_for_more),
    Mishap("The agent calls the same tool again and again.", LOOP, _searches),
    Mishap("The model behind the agent fails and fails.", ERRORS, _keeps_asking),
    Mishap("The server hangs; what is said to it is not heard.", STUCK, _waits_for_an_answer),
)


async def play(mishap: Mishap, url: str, patience: float = TIMEOUT) -> str:
    """Play a scene through a proxy; return the agent's last words.

    Raises:
        TimeoutError: Nothing came for `patience` seconds: nobody helped.

    """
    async with AgentClient(url, patience) as client:
        started = await client.call("startSession", userId="demo")
        session = started["sessionId"]
        words = await mishap.play(client, session)
        await client.call("stopSession", sessionId=session)
    return words
