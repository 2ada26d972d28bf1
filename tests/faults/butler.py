"""A protocol of one's own, and the dialect that a user would write for it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar

from tests.faults.client import Client
from tests.faults.faults import Cure, Tool
from tests.faults.server import NOTHING, AgentServer, Methods, Params, Socket, Turn, words

DIALECT = """
name = "butler"
title = "A protocol of one's own"

[[detect]]
methods = ["session.open", "ask", "tell", "halt", "progress", "step"]

[session]
named = true
id = ["params.session"]

[[rule]]
role = "session_start"
on = "response"
method = "session.open"
id = "result.session"

[[rule]]
role = "turn"
method = "ask"
text = "params.text"
output = "result.text"
reason = "result.end"
outcomes = { halted = "cancelled" }

[[rule]]
role = "stream"
method = "progress"
kind = "message"
text = "params.text"

[[rule]]
role = "tool"
method = "step"
id = "params.id"
name = "params.tool"
arguments = "params.with"
result = "params.got"
status = "params.state"
outcomes = { done = "completed", failed = "failed" }
error_type = "tool_error"

[[rule]]
role = "waits_for_user"
method = "may_i"

[[prompt]]
turn = "open"
method = "tell"
params = { session = "$session", text = "$text" }

[[prompt]]
turn = "idle"
method = "ask"
params = { session = "$session", text = "$text" }

[[cancel]]
turn = "open"
method = "halt"
params = { session = "$session" }

[restart]
replay = ["hello"]
"""


class _Turn(Turn):
    def __init__(self, server: AgentServer, socket: Socket, session: str, number: int) -> None:
        self.text = ""
        self._server = server
        self._socket = socket
        self._session = session
        self._ids = (f"{number}.{n}" for n in itertools.count(1))
        self._id = ""

    async def say(self, text: str) -> None:
        self.text += text
        for piece in words(text):
            await self._tell("progress", text=piece)

    async def ask(self) -> None:
        await self._server.ask(self._socket, "may_i", {"session": self._session})

    async def begin_tool(self, tool: Tool) -> None:
        self._id = next(self._ids)
        given = {"tool": tool.name, "with": tool.arguments, "state": "running"}
        await self._tell("step", id=self._id, **given)

    async def end_tool(self, tool: Tool) -> None:
        state, got = ("done", tool.result) if tool.error is None else ("failed", tool.error)
        await self._tell("step", id=self._id, state=state, got=got)

    async def _tell(self, method: str, **params: Any) -> None:
        message = {"method": method, "params": {"session": self._session, **params}}
        await self._socket.send(message)


class ButlerServer(AgentServer):
    """The agent; a session lives on the connection that opened it, one turn at a time."""

    _sessions = 0

    async def _hello(self, _: Socket, __: Params, ___: Any) -> Params:
        return {"server": "butler"}

    async def _open(self, socket: Socket, _: Params, __: Any) -> Params:
        self.mind.treat(Cure.RESTART)
        self._sessions += 1
        socket.session = []
        return {"session": f"s{self._sessions}"}

    async def _ask(self, socket: Socket, params: Params, call_id: Any) -> Any:
        self.mind.hear(params["text"])
        turn = _Turn(self, socket, params["session"], len(self.mind.turns))
        task = self.spawn(self._run(socket, call_id, turn, params["text"]))
        socket.session.append(task)
        return NOTHING

    async def _run(self, socket: Socket, call_id: Any, turn: _Turn, text: str) -> None:
        end = "done"
        try:
            await self.play(text, turn)
        except asyncio.CancelledError:
            end = "halted"
        await socket.send({"id": call_id, "result": {"end": end, "text": turn.text}})

    async def _tell(self, _: Socket, params: Params, __: Any) -> Params:
        self.mind.hear(params["text"])
        return {"heard": True}

    async def _halt(self, socket: Socket, _: Params, __: Any) -> Params:
        self.disconnected(socket)
        self.mind.treat(Cure.CANCEL)
        return {"halted": True}

    def disconnected(self, socket: Socket) -> None:
        while socket.session:
            socket.session.pop().cancel()

    methods: ClassVar[Methods] = {
        "hello": _hello,
        "session.open": _open,
        "ask": _ask,
        "tell": _tell,
        "halt": _halt,
    }


class ButlerClient(Client):
    """A page in a browser."""

    def session_in(self, params: Params) -> str | None:
        return params.get("session")

    async def begin(self) -> None:
        await self.call("hello", {"client": "page"})
        self.session = (await self.call("session.open", {}))["session"]

    async def turn(self, text: str) -> str:
        answer = await self.call("ask", {"session": self.session, "text": text})
        said: str = answer["text"] if answer["end"] == "done" else ""
        self.heard(said)
        return said

    def told(self, method: str, params: Params) -> None:
        if method == "progress":
            self.heard(params["text"])

    def asked(self, method: str, params: Params) -> Any:
        assert method == "may_i"
        return {"yes": True}
