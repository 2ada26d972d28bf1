"""AIWhisperer: the demo's agent, with the faults of this package."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from websockets.asyncio.server import ServerConnection

from debbie_otel.demo import script
from debbie_otel.demo.agent import MODEL_TIMEOUT, ScriptedAgent
from tests.faults.affliction import Affliction
from tests.faults.client import CallFailed, Client
from tests.faults.faults import Cure, Hang, Say, Stall, Step, Think, Tool
from tests.faults.memory import Hog
from tests.faults.mind import DONE, Mind
from tests.faults.server import Params

_SPEED = 10.0
_MOST_TOOLS = 16
"""Tools that the agent calls before it gives a turn up."""


class AiWhispererServer(ScriptedAgent):
    """One socket is served strictly one message after the other, a second one at once.

    A tool that hangs blocks the whole process, and with it every socket.
    """

    def __init__(self, mind: Mind, hog: Hog | None = None) -> None:
        super().__init__((), speed=_SPEED)
        self._affliction = Affliction(mind, hog)
        self._mind = mind
        self._methods["startSession"] = self._begin
        self._methods["stopSession"] = self._end

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._suffering = asyncio.get_running_loop().create_task(self._affliction.suffer())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._suffering.cancel()
        await asyncio.gather(self._suffering, return_exceptions=True)
        await super().__aexit__(kind, error, traceback)

    async def _serve(self, connection: ServerConnection) -> None:
        with self._affliction.connected(connection):
            await super()._serve(connection)

    async def _answer(self, connection: ServerConnection, text: str | bytes) -> Params | None:
        frozen = self._affliction.frozen
        answer = None if connection in frozen else await super()._answer(connection, text)
        if connection in frozen:
            await connection.wait_closed()
            return None
        return answer

    async def _begin(self, connection: ServerConnection, params: Params) -> Params:
        self._mind.treat(Cure.RESTART)
        return await self._start_session(connection, params)

    async def _end(self, connection: ServerConnection, params: Params) -> Params:
        self._mind.treat(Cure.CANCEL)
        return await self._stop_session(connection, params)

    def turn_for(self, number: int, message: str) -> script.ScriptedTurn:
        """Tell the steps of a turn as a whole, as this server does."""
        self._mind.hear(message)
        return self._as_turn(self._mind.steps(message))

    def _as_turn(self, steps: Iterator[Step]) -> script.ScriptedTurn:
        tools: list[script.ToolCall] = []
        text, think, fault = "", 0.1, script.Fault.NONE
        for step in itertools.islice(steps, _MOST_TOOLS):
            match step:
                case Say():
                    text = step.text
                case Think():
                    think += step.seconds * _SPEED
                case Hang() | Stall():
                    fault = script.Fault.HANG if isinstance(step, Hang) else script.Fault.STALL
                    break
                case Tool(error=None):
                    tools.append(script.ToolCall(step.name, step.arguments, 0.1))
                    if step.seconds is None:
                        self._affliction.block()
                case Tool():
                    fault = script.Fault.ERROR
                    break
        if not text and fault is script.Fault.NONE:
            fault = script.Fault.STALL
        return script.ScriptedTurn(text=text, tools=tuple(tools), think=think, fault=fault)

    async def hang(self) -> str | None:
        """Wait until the model answers again; a real one gives its call up after a minute."""
        waiting = [
            asyncio.get_running_loop().create_task(event())
            for event in (self._mind.well, self._stopping.wait)
        ]
        try:
            await asyncio.wait(waiting, timeout=MODEL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return None if self._mind.ill else f"At last {DONE}."


class AiWhispererClient(Client):
    """A batch of messages."""

    def session_in(self, params: Params) -> str | None:
        named = params.get("sessionId") or params.get("metadata", {}).get("sessionId")
        return None if named is None else str(named)

    async def begin(self) -> None:
        started = await self.call("startSession", {"userId": "user", "sessionParams": {}})
        self.session = started["sessionId"]

    async def turn(self, text: str) -> str:
        answer = await self.call("sendUserMessage", {"sessionId": self.session, "message": text})
        if answer["ai_response"] is None:
            raise CallFailed("the model failed")
        return str(answer["ai_response"])

    def told(self, method: str, params: Params) -> None:
        if method == "ChannelMessageNotification":
            self.heard(params["content"])
