"""What the agent servers have in common: JSON-RPC on WebSockets, turns, and how they go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ClassVar, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.faults.affliction import Affliction
from tests.faults.faults import Ask, Hang, Say, Stall, Step, Think, Tool
from tests.faults.memory import Hog
from tests.faults.mind import Mind

Params = dict[str, Any]
Methods = dict[str, Callable[[Any, "Socket", Params, Any], Awaitable[Any]]]
"""Handlers by method; each gets the server, the socket, params and the request's id."""
NOTHING = object()
"""A handler's result that is no answer: it comes later, or never."""


class RpcError(Exception):
    """Answered as a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Socket:
    """One connection.

    Attributes:
        session: Whatever the dialect keeps of it.

    """

    def __init__(
        self, connection: ServerConnection, affliction: Affliction, *, versioned: bool
    ) -> None:
        self.session: Any = None
        self._connection = connection
        self._affliction = affliction
        self._member = {"jsonrpc": "2.0"} if versioned else {}

    async def send(self, message: Params) -> None:
        """Send; what goes to a connection that is gone or frozen is lost."""
        if self._connection not in self._affliction.frozen:
            with contextlib.suppress(ConnectionClosed):
                await self._connection.send(json.dumps({**self._member, **message}))


class AgentServer(ABC):
    """A server with one agent; an async context manager.

    Args:
        mind: The agent.
        hog: The process whose memory counts as the agent's.

    Attributes:
        sockets: Connections that are open.

    """

    versioned = True
    methods: ClassVar[Methods]

    def __init__(self, mind: Mind, hog: Hog | None = None) -> None:
        self.mind = mind
        self.sockets: set[Socket] = set()
        self._affliction = Affliction(mind, hog)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._numbers = itertools.count()
        self._asked: dict[tuple[Socket, int], asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._server: Server = await serve(self._serve, "127.0.0.1", 0, close_timeout=1)
        self.spawn(self._affliction.suffer())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in list(self._tasks):
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()
        for result in ended:
            if isinstance(result, Exception):
                raise result

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/ws"

    # -- the wire ----------------------------------------------------------------------------

    async def _serve(self, connection: ServerConnection) -> None:
        socket = Socket(connection, self._affliction, versioned=self.versioned)
        self.sockets.add(socket)
        try:
            with self._affliction.connected(connection), contextlib.suppress(ConnectionClosed):
                async for text in connection:
                    if connection in self._affliction.frozen:
                        await connection.wait_closed()
                    else:
                        self.spawn(self._handle(socket, json.loads(text)))
        finally:
            self.sockets.discard(socket)
            self.disconnected(socket)

    async def _handle(self, socket: Socket, message: Params) -> None:
        method = message.get("method")
        if method is None:
            self._answered(socket, message)
            return
        handler = self.methods.get(method)
        call_id = message.get("id")
        try:
            if handler is None:
                raise RpcError(-32601, "Method not found")
            result = await handler(self, socket, message.get("params") or {}, call_id)
        except RpcError as error:
            answer = {"id": call_id, "error": {"code": error.code, "message": str(error)}}
            await socket.send(answer)
            return
        if call_id is not None and result is not NOTHING:
            await socket.send({"id": call_id, "result": result})

    async def ask(self, socket: Socket, method: str, params: Params) -> Any:
        """Ask the client; return its answer's result, None if that never comes."""
        number = next(self._numbers)
        answer = self._asked[socket, number] = asyncio.get_running_loop().create_future()
        await socket.send({"id": number, "method": method, "params": params})
        return await answer

    def _answered(self, socket: Socket, message: Params) -> None:
        answer = self._asked.pop((socket, message["id"]), None)
        if answer is not None and not answer.done():
            answer.set_result(message.get("result"))

    def disconnected(self, socket: Socket) -> None:  # noqa: B027 - not all have it
        """Do what the dialect does when a connection ends."""

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run something as long as the server runs."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- turns -------------------------------------------------------------------------------

    async def play(self, text: str, turn: Turn) -> bool:
        """Play a turn; return whether it has come to its end, or has been left mid-task."""
        for step in self.mind.steps(text):
            if isinstance(step, Stall) and turn.can_be_cut:
                return False
            await self._play_step(step, turn)
        return True

    async def _play_step(self, step: Step, turn: Turn) -> None:
        match step:
            case Say(text=text):
                await turn.say(text)
            case Think(seconds=seconds):
                await asyncio.sleep(seconds)
            case Ask():
                await turn.ask()
            case Hang():
                turn.hangs()
                await self.mind.well()
            case Stall():
                await self.mind.well()
            case Tool():
                await turn.begin_tool(step)
                if step.seconds is None:
                    await self.mind.well()
                else:
                    await asyncio.sleep(step.seconds)
                await turn.end_tool(step)


class Turn(ABC):
    """A turn as it looks on a wire."""

    can_be_cut = False
    """Whether the dialect can tell a turn that ended mid-task."""

    @abstractmethod
    async def say(self, text: str) -> None:
        """Stream words."""

    def hangs(self) -> None:  # noqa: B027 - not all have it
        """Take note that the model does not answer any more."""

    async def ask(self) -> None:  # noqa: B027 - not all have it
        """Ask the user whether it may; at once where the dialect has no words for it."""

    @abstractmethod
    async def begin_tool(self, tool: Tool) -> None:
        """Tell that a tool begins."""

    @abstractmethod
    async def end_tool(self, tool: Tool) -> None:
        """Tell how it has ended."""


def words(text: str) -> list[str]:
    """Return the pieces in which a text is streamed."""
    return [f"{word} " for word in text.split(" ")]
