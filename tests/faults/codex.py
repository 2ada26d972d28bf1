"""Codex: a turn outlives its request and its connection, and can be steered and interrupted."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, ClassVar

from tests.faults.client import Client
from tests.faults.faults import Cure, Tool
from tests.faults.memory import Hog
from tests.faults.mind import Mind
from tests.faults.server import NOTHING, AgentServer, Methods, Params, RpcError, Socket, Turn, words

_INVALID = -32600


class _Turn(Turn):
    """A turn; all connections that follow the thread are told."""

    def __init__(self, thread: _Thread, number: int) -> None:
        self.id = f"turn-{number}"
        self.task: asyncio.Task[None] | None = None
        self._thread = thread
        self._items = (f"item-{number}-{n}" for n in itertools.count(1))
        self._item: Params = {}

    def as_json(self, status: str) -> Params:
        return {"id": self.id, "items": [], "status": status, "error": None, "durationMs": None}

    async def say(self, text: str) -> None:
        item = {"type": "agentMessage", "id": next(self._items), "text": ""}
        await self._tell("item/started", item=item)
        for piece in words(text):
            await self._tell("item/agentMessage/delta", itemId=item["id"], delta=piece)
        await self._tell("item/completed", item={**item, "text": text})

    async def heard(self, text: str) -> None:
        content = [{"type": "text", "text": text, "text_elements": []}]
        item = {"type": "userMessage", "id": next(self._items), "content": content}
        await self._tell("item/started", item=item)
        await self._tell("item/completed", item=item)

    def hangs(self) -> None:
        self._thread.hanging = True

    async def ask(self) -> None:
        asked = {"turnId": self.id, "itemId": next(self._items), "command": "touch approved"}
        await self._thread.ask("item/commandExecution/requestApproval", asked)

    async def begin_tool(self, tool: Tool) -> None:
        given = " ".join(f"{name}={value!r}" for name, value in tool.arguments.items())
        self._item = {
            "type": "commandExecution",
            "id": next(self._items),
            "command": f"{tool.name} {given}",
            "cwd": "/workspace",
            "status": "inProgress",
            "exitCode": None,
            "aggregatedOutput": None,
        }
        await self._tell("item/started", item=self._item)

    async def end_tool(self, tool: Tool) -> None:
        failed = tool.error is not None
        result = {
            "status": "failed" if failed else "completed",
            "exitCode": int(failed),
            "aggregatedOutput": tool.error or tool.result,
        }
        await self._tell("item/completed", item={**self._item, **result})

    async def _tell(self, method: str, **params: Any) -> None:
        await self._thread.tell(method, turnId=self.id, **params)


class _Thread:
    """A thread, whoever follows it.

    Attributes:
        turn: The one that runs.
        hanging: Whether its model does not answer, and hears nothing.

    """

    def __init__(self, server: AgentServer, name: str) -> None:
        self.turn: _Turn | None = None
        self.hanging = False
        self.followers: list[Socket] = []
        self._server = server
        self._name = name

    def as_json(self) -> Params:
        return {"thread": {"id": self._name, "turns": []}, "model": "scripted"}

    async def tell(self, method: str, **params: Any) -> None:
        params["threadId"] = self._name
        message = {"method": method, "params": params, "emittedAtMs": round(time.time() * 1000)}
        for socket in list(self.followers):
            await socket.send(message)

    async def ask(self, method: str, params: Params) -> None:
        if self.followers:
            asked = {"threadId": self._name, **params}
            await self._server.ask(self.followers[0], method, asked)

    async def run(self, turn: _Turn, text: str) -> None:
        """Play a turn from its first notification to its last."""
        status = "completed"
        await asyncio.sleep(0)  # the answer to turn/start goes first
        await self._is("active", activeFlags=[])
        await self.tell("turn/started", turn=turn.as_json("inProgress"))
        try:
            await turn.heard(text)
            await self._server.play(text, turn)
        except asyncio.CancelledError:
            status = "interrupted"
        if self.turn is turn:
            self.turn = None
        self.hanging = False
        await self._is("idle")
        await self.tell("turn/completed", turn=turn.as_json(status))

    async def _is(self, word: str, **more: Any) -> None:
        await self.tell("thread/status/changed", status={"type": word, **more})


class CodexServer(AgentServer):
    """The app-server."""

    versioned = False

    def __init__(self, mind: Mind, hog: Hog | None = None) -> None:
        super().__init__(mind, hog)
        self._threads: dict[str, _Thread] = {}

    async def _initialize(self, _: Socket, __: Params, ___: Any) -> Params:
        return {"userAgent": "faulty/0.169.0"}

    async def _initialized(self, _: Socket, __: Params, ___: Any) -> Any:
        return NOTHING

    async def _start_thread(self, socket: Socket, _: Params, __: Any) -> Params:
        name = f"01a2-thread-{len(self._threads) + 1}"
        thread = self._threads[name] = _Thread(self, name)
        thread.followers.append(socket)
        return thread.as_json()

    async def _resume(self, socket: Socket, params: Params, _: Any) -> Params:
        thread = self._thread(params)
        self.mind.treat(Cure.RESTART)
        thread.followers.append(socket)
        return thread.as_json()

    async def _start_turn(self, _: Socket, params: Params, __: Any) -> Params:
        thread = self._thread(params)
        text = params["input"][0]["text"]
        if thread.turn is not None:
            self._steer_turn(thread, text)
            return {"turn": thread.turn.as_json("inProgress")}
        self.mind.hear(text)
        turn = thread.turn = _Turn(thread, next(self._numbers))
        turn.task = self.spawn(thread.run(turn, text))
        return {"turn": turn.as_json("inProgress")}

    async def _steer(self, _: Socket, params: Params, __: Any) -> Params:
        thread = self._thread(params)
        if thread.turn is None or thread.turn.id != params["expectedTurnId"]:
            raise RpcError(_INVALID, "no active turn to steer")
        self._steer_turn(thread, params["input"][0]["text"])
        return {"turnId": thread.turn.id}

    def _steer_turn(self, thread: _Thread, text: str) -> None:
        """Take words in; a model that hangs never hears them."""
        if not thread.hanging:
            self.mind.hear(text)

    async def _interrupt(self, _: Socket, params: Params, __: Any) -> Params:
        thread = self._thread(params)
        turn = thread.turn
        if turn is None or turn.id != params["turnId"] or turn.task is None:
            raise RpcError(_INVALID, "no active turn to interrupt")
        turn.task.cancel()
        thread.turn = None
        self.mind.treat(Cure.CANCEL)
        return {}

    def _thread(self, params: Params) -> _Thread:
        thread = self._threads.get(params.get("threadId", ""))
        if thread is None:
            raise RpcError(_INVALID, f"thread not found: {params.get('threadId')}")
        return thread

    def disconnected(self, socket: Socket) -> None:
        for thread in self._threads.values():
            thread.followers = [other for other in thread.followers if other is not socket]

    methods: ClassVar[Methods] = {
        "initialize": _initialize,
        "initialized": _initialized,
        "thread/start": _start_thread,
        "thread/resume": _resume,
        "turn/start": _start_turn,
        "turn/steer": _steer,
        "turn/interrupt": _interrupt,
    }


class CodexClient(Client):
    """A terminal.

    Attributes:
        start: What a thread is started with.

    """

    versioned = False
    broadcasts = frozenset({"thread/started", "thread/status/changed", "thread/goal/cleared"})

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._idle = asyncio.Event()
        self._status = ""
        self.start: Params = {
            "cwd": "/workspace",
            "approvalPolicy": "never",
            "sandbox": "danger-full-access",
        }

    def session_in(self, params: Params) -> str | None:
        return params.get("threadId")

    async def begin(self) -> None:
        await self.call("initialize", {"clientInfo": {"name": "terminal", "version": "1"}})
        await self.notify("initialized", {})
        answer = await self.call("thread/start", self.start)
        self.session = answer["thread"]["id"]

    async def turn(self, text: str) -> str:
        before = len(self.words)
        self._idle.clear()
        said = [{"type": "text", "text": text, "text_elements": []}]
        await self.call("turn/start", {"threadId": self.session, "input": said})
        await self._idle.wait()
        return self.words[before:] if self._status == "completed" else ""

    async def settle(self) -> None:
        await self._idle.wait()

    def told(self, method: str, params: Params) -> None:
        if method == "turn/started":
            self._idle.clear()
        elif method == "item/agentMessage/delta":
            self.heard(params["delta"])
        elif method == "turn/completed":
            self._status = params["turn"]["status"]
            self._idle.set()

    def asked(self, method: str, params: Params) -> Any:
        assert method == "item/commandExecution/requestApproval"
        return {"decision": "accept"}
