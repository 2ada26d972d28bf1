"""A live ACP agent that can get stuck: on the SDK, with what is wrong with it as in tests/faults."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import acp
from acp import schema
from acp.http.asgi import create_asgi_app

from tests.faults.faults import Cure, Hang, Say, Stall, Think, Tool
from tests.faults.mind import Mind
from tests.peers.between import serving

NAME = "stuck"


class SteppingAgent:
    """The agent's side of one connection: its turns are the steps of a mind."""

    def __init__(self, client: Any, mind: Mind) -> None:
        self._client = client
        self._mind = mind
        self._turns: set[asyncio.Task[None]] = set()

    async def initialize(self, protocol_version: int, **_: Any) -> Any:
        return acp.InitializeResponse(
            protocol_version=protocol_version,
            agent_info=schema.Implementation(name=NAME, version="1.0"),
        )

    async def new_session(self, **_: Any) -> Any:
        self._mind.treat(Cure.RESTART)
        return acp.NewSessionResponse(session_id=f"sess-{len(self._mind.turns) + 1}")

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> Any:
        text = prompt[0].text
        self._mind.hear(text)
        turn = asyncio.get_running_loop().create_task(self._play(session_id, text))
        self._turns.add(turn)
        await asyncio.wait([turn])
        self._turns.discard(turn)
        reason: Any = "cancelled" if turn.cancelled() else "end_turn"
        return acp.PromptResponse(stop_reason=reason)

    async def cancel(self, session_id: str, **_: Any) -> None:
        for turn in self._turns:
            turn.cancel()
        self._mind.treat(Cure.CANCEL)

    async def _play(self, session_id: str, text: str) -> None:
        for number, step in enumerate(self._mind.steps(text)):
            call = f"call-{len(self._mind.turns)}-{number}"
            match step:
                case Say(text=words):
                    for word in words.split(" "):
                        await self._tell(session_id, acp.update_agent_message_text(f"{word} "))
                case Think(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Hang() | Stall():
                    await self._mind.well()
                case Tool():
                    await self._use(session_id, call, step)

    async def _use(self, session_id: str, call: str, tool: Tool) -> None:
        kind: Any = "search"
        begun = acp.start_tool_call(
            call, tool.name, kind=kind, status="in_progress", raw_input=tool.arguments
        )
        await self._tell(session_id, begun)
        await (self._mind.well() if tool.seconds is None else asyncio.sleep(tool.seconds))
        status: Any = "completed" if tool.error is None else "failed"
        output = {"text": tool.error or tool.result}
        ended = acp.update_tool_call(call, status=status, raw_output=output)
        await self._tell(session_id, ended)

    async def _tell(self, session_id: str, update: Any) -> None:
        await self._client.session_update(session_id, update)


@contextlib.asynccontextmanager
async def stuck_agent(mind: Mind) -> AsyncIterator[int]:
    """Serve; yield the port."""

    def agent_for(client: Any) -> Any:  # an Agent as far as it is asked
        return SteppingAgent(client, mind)

    async with serving(create_asgi_app(agent_for), lifespan=True) as port:
        yield port
