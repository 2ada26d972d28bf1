"""ACP: a turn is a `session/prompt`; it ends with its connection, or by `session/cancel`."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar

from tests.faults.client import Client
from tests.faults.faults import Cure, Tool
from tests.faults.server import NOTHING, AgentServer, Methods, Params, Socket, Turn, words


class _Turn(Turn):
    def __init__(self, server: AgentServer, socket: Socket, session: str, number: int) -> None:
        self._server = server
        self._socket = socket
        self._session = session
        self._calls = (f"call-{number}-{n}" for n in itertools.count(1))
        self._call = ""

    async def say(self, text: str) -> None:
        for piece in words(text):
            content = {"type": "text", "text": piece}
            await self._update({"sessionUpdate": "agent_message_chunk", "content": content})

    async def ask(self) -> None:
        call = {"toolCallId": next(self._calls), "kind": "edit"}
        options = [{"optionId": "allow", "name": "Allow", "kind": "allow_once"}]
        asked = {"sessionId": self._session, "toolCall": call, "options": options}
        await self._server.ask(self._socket, "session/request_permission", asked)

    async def begin_tool(self, tool: Tool) -> None:
        self._call = next(self._calls)
        await self._update(
            {
                "sessionUpdate": "tool_call",
                "toolCallId": self._call,
                "title": tool.name,
                "kind": "other",
                "_meta": {"toolName": tool.name},
                "status": "in_progress",
                "rawInput": tool.arguments,
            }
        )

    async def end_tool(self, tool: Tool) -> None:
        status = "completed" if tool.error is None else "failed"
        await self._update(
            {
                "sessionUpdate": "tool_call_update",
                "toolCallId": self._call,
                "status": status,
                "rawOutput": {"text": tool.error or tool.result},
            }
        )

    async def _update(self, update: Params) -> None:
        params = {"sessionId": self._session, "update": update}
        await self._socket.send({"method": "session/update", "params": params})


class AcpServer(AgentServer):
    """The agent; a session lives on the connection that began or loaded it."""

    _sessions = 0

    async def _initialize(self, _: Socket, __: Params, ___: Any) -> Params:
        return {
            "protocolVersion": 1,
            "agentInfo": {"name": "faulty", "version": "1"},
            "agentCapabilities": {"loadSession": True},
        }

    async def _new(self, socket: Socket, _: Params, __: Any) -> Params:
        self.mind.treat(Cure.RESTART)
        self._sessions += 1
        socket.session = {}  # prompts that run on this connection, by their ids
        return {"sessionId": f"sess-{self._sessions}"}

    async def _prompt(self, socket: Socket, params: Params, call_id: Any) -> Any:
        text = params["prompt"][0]["text"]
        self.mind.hear(text)
        turn = _Turn(self, socket, params["sessionId"], len(self.mind.turns))
        task = self.spawn(self._run(socket, call_id, self.play(text, turn)))
        socket.session[call_id] = task
        task.add_done_callback(lambda _: socket.session.pop(call_id, None))
        return NOTHING

    async def _run(self, socket: Socket, call_id: Any, playing: Any) -> None:
        try:
            await playing
        except asyncio.CancelledError:
            await socket.send({"id": call_id, "result": {"stopReason": "cancelled"}})
            return
        await socket.send({"id": call_id, "result": {"stopReason": "end_turn"}})

    async def _cancel(self, socket: Socket, _: Params, __: Any) -> Any:
        for task in list(socket.session.values()):
            task.cancel()
        self.mind.treat(Cure.CANCEL)
        return NOTHING

    def disconnected(self, socket: Socket) -> None:
        for task in list((socket.session or {}).values()):
            task.cancel()

    methods: ClassVar[Methods] = {
        "initialize": _initialize,
        "session/new": _new,
        "session/prompt": _prompt,
        "session/cancel": _cancel,
    }


class AcpClient(Client):
    """An editor."""

    def session_in(self, params: Params) -> str | None:
        return params.get("sessionId")

    async def begin(self) -> None:
        await self.call("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        answer = await self.call("session/new", {"cwd": "/", "mcpServers": []})
        self.session = answer["sessionId"]

    async def turn(self, text: str) -> str:
        before = len(self.words)
        prompt = [{"type": "text", "text": text}]
        answer = await self.call("session/prompt", {"sessionId": self.session, "prompt": prompt})
        return self.words[before:] if answer["stopReason"] == "end_turn" else ""

    def told(self, method: str, params: Params) -> None:
        update = params["update"]
        if update["sessionUpdate"] == "agent_message_chunk":
            self.heard(update["content"]["text"])

    def asked(self, method: str, params: Params) -> Any:
        assert method == "session/request_permission"
        return {"outcome": {"outcome": "selected", "optionId": "allow"}}
