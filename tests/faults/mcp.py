"""MCP: the agent is the client; it calls tools, and the server can be told nothing but calls."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from tests.faults.client import CallFailed, Client
from tests.faults.faults import Cure, Fault, Hang, Say, Stall, Step, Think, Tool
from tests.faults.memory import Hog
from tests.faults.mind import Mind
from tests.faults.server import NOTHING, AgentServer, Methods, Params, Socket

TOOLS = (
    {"name": "do", "inputSchema": {"type": "object"}, "annotations": {"idempotentHint": True}},
    {"name": "send", "inputSchema": {"type": "object"}},
)


class McpServer(AgentServer):
    """A server of tools; each call takes the next step of the fault."""

    def __init__(self, mind: Mind, hog: Hog | None = None) -> None:
        super().__init__(mind, hog)
        self._steps: Iterator[Step] = iter(())

    async def _initialize(self, socket: Socket, params: Params, _: Any) -> Params:
        self.mind.treat(Cure.RESTART)
        socket.session = {}  # calls that run on this connection, by their ids
        version = params["protocolVersion"]
        info = {"name": "faulty", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}

    async def _initialized(self, _: Socket, __: Params, ___: Any) -> Any:
        return NOTHING

    async def _list(self, _: Socket, __: Params, ___: Any) -> Params:
        return {"tools": list(TOOLS)}

    async def _call(self, socket: Socket, params: Params, call_id: Any) -> Any:
        task = self.spawn(self._run(socket, call_id, params))
        socket.session[call_id] = task
        task.add_done_callback(lambda _: socket.session.pop(call_id, None))
        return NOTHING

    async def _run(self, socket: Socket, call_id: Any, params: Params) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # such a call is not answered
            text, failed = await self._work(params["name"], params["arguments"])
            result = {"content": [{"type": "text", "text": text}], "isError": failed}
            await socket.send({"id": call_id, "result": result})

    async def _work(self, name: str, arguments: Params) -> tuple[str, bool]:
        """Take the steps that a call takes; return what comes of it, and whether it failed."""
        if name != "do":
            await asyncio.sleep(arguments.get("seconds", 0.0))
            failed = bool(arguments.get("fails"))
            return "it failed" if failed else "as before", failed
        while True:
            if not self.mind.ill:
                self._steps = self.mind.steps(arguments["task"])
            result = await self._step()
            if result is not None:
                return result
            if self.mind.fault is not None and self.mind.fault.passes:
                self.mind.recover()
            self._steps = self.mind.steps(arguments["task"])

    async def _step(self) -> tuple[str, bool] | None:
        """Take the steps that are left up to a result; None if they have none."""
        for step in self._steps:
            match step:
                case Think(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Hang() | Stall() | Tool(seconds=None):
                    await self.mind.well()
                case Tool(error=None) if not self.mind.ill:
                    continue
                case Tool(error=error, result=result):
                    return error or result, error is not None
                case Say(text=text):
                    return text, False
        return None

    async def _cancelled(self, socket: Socket, params: Params, _: Any) -> Any:
        task = socket.session.get(params.get("requestId"))
        if task is not None:
            task.cancel()
            self.mind.treat(Cure.CANCEL)
        return NOTHING

    def disconnected(self, socket: Socket) -> None:
        for task in list((socket.session or {}).values()):
            task.cancel()

    methods: ClassVar[Methods] = {
        "initialize": _initialize,
        "notifications/initialized": _initialized,
        "tools/list": _list,
        "tools/call": _call,
        "notifications/cancelled": _cancelled,
    }


class McpClient(Client):
    """The agent itself: it is the one who goes round in circles."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._dice = random.Random(0)

    def session_in(self, params: Params) -> str | None:
        return None

    async def begin(self) -> None:
        info = {"name": "agent", "version": "1"}
        given = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info}
        await self.call("initialize", given)
        await self.notify("notifications/initialized", {})
        assert len((await self.call("tools/list", {}))["tools"]) == len(TOOLS)

    async def turn(self, text: str) -> str:
        note = self._dice.randbytes(100).hex()  # or the calls would look like a loop
        result = await self.use("do", {"task": text, "note": note})
        said = str(result["content"][0]["text"])
        if result["isError"]:
            raise CallFailed(said)
        self.heard(said)
        return said

    async def have_it_done(self, fault: Fault | None) -> None:
        if fault is None:
            await super().have_it_done(fault)
        elif fault.alert == "tool_loop":
            for step in fault.steps():
                assert isinstance(step, Tool)
                try:
                    await self.use(step.name, step.arguments)
                except CallFailed as error:  # a reset ends what runs, and says so
                    self.failures.append(str(error))
        else:
            await super().have_it_done(replace(fault, asks_again=True))

    def asked(self, method: str, params: Params) -> Any:
        assert method == "elicitation/create"
        return {"action": "accept", "content": {}}

    async def use(self, name: str, arguments: Params) -> Any:
        """Call a tool; return its result."""
        return await self.call("tools/call", {"name": name, "arguments": arguments})
