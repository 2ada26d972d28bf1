"""A client as users have it: it keeps its connection, and wonders at whatever it did not cause."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.faults.faults import Fault
from tests.faults.mind import AFTERWARDS, DONE, GREETING, TASK

Params = dict[str, Any]
_BETWEEN = 0.03
"""Seconds that the user takes from turn to turn."""
_MORE = 3
"""Turns after the task."""


class CallFailed(Exception):  # noqa: N818 - it reads as what happened
    """The server answered with an error."""


class Client(ABC):
    """One connection with one session; an async context manager.

    Args:
        url: Of the server, or of a proxy before it.

    Attributes:
        complaints: What came that nobody had asked for, or that names sessions it does not know.
        received: All that came.
        session: The session's name; None where the connection is all there is.
        failures: What turns about the task have failed with.
        words: All that the agent has said.
        ponders: Seconds that the user takes to answer the agent.
        closed: Whether the other side has ended the connection.

    """

    versioned = True
    broadcasts: ClassVar[frozenset[str]] = frozenset()
    """Notifications that go to everybody, whatever session they are about."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.complaints: list[str] = []
        self.received: list[Params] = []
        self.session: str | None = None
        self.failures: list[str] = []
        self.words = ""
        self.closed = False
        self.ponders = 0.0
        self._answering: set[asyncio.Task[None]] = set()
        self._good = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._connection: ClientConnection = await connect(self._url, proxy=None, close_timeout=1)
        self._reading = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()
        for task in (self._reading, *self._answering):
            task.cancel()
        ended = await asyncio.gather(self._reading, *self._answering, return_exceptions=True)
        self.complaints += [repr(problem) for problem in ended if isinstance(problem, Exception)]

    # -- the wire ----------------------------------------------------------------------------

    async def call(self, method: str, params: Params) -> Any:
        """Send a request; return its result."""
        return await (await self.request(method, params))

    async def request(self, method: str, params: Params) -> asyncio.Future[Any]:
        """Send a request; return its result to come."""
        number = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        await self.send({"id": number, "method": method, "params": params})
        return future

    async def notify(self, method: str, params: Params) -> None:
        """Send a notification."""
        await self.send({"method": method, "params": params})

    async def send(self, message: Params) -> None:
        """Send any message."""
        member = {"jsonrpc": "2.0"} if self.versioned else {}
        with contextlib.suppress(ConnectionClosed):  # which is noticed where it is read
            await self._connection.send(json.dumps({**member, **message}))

    async def _read(self) -> None:
        try:
            async for text in self._connection:
                await self._receive(json.loads(text))
        except ConnectionClosed:
            pass
        self.closed = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(CallFailed("the connection was closed"))
                future.exception()  # whoever waits gets it; nobody need

    async def _receive(self, message: Params) -> None:
        self.received.append(message)
        if ("jsonrpc" in message) != self.versioned:
            self.complaints.append(f"another protocol: {message}")
        if "method" in message:
            await self._listen(message)
            return
        future = self._waiting.pop(message.get("id", -1), None)
        if future is None:
            self.complaints.append(f"nobody had asked for {json.dumps(message)[:300]}")
        elif future.done():  # whoever had asked waits no longer
            pass
        elif "error" in message:
            future.set_exception(CallFailed(str(message["error"])))
            future.exception()
        else:
            future.set_result(message.get("result"))

    async def _listen(self, message: Params) -> None:
        params = message.get("params") or {}
        named = self.session_in(params)
        strange = named is not None and self.session is not None and named != self.session
        if strange and message["method"] not in self.broadcasts:
            self.complaints.append(f"a strange session: {json.dumps(message)[:300]}")
        elif strange:
            return
        if "id" in message:
            answering = asyncio.get_running_loop().create_task(self._answer(message))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)
        else:
            self.told(message["method"], params)

    async def _answer(self, message: Params) -> None:
        await asyncio.sleep(self.ponders)
        result = self.asked(message["method"], message.get("params") or {})
        await self.send({"id": message["id"], "result": result})

    # -- the dialect -------------------------------------------------------------------------

    @abstractmethod
    def session_in(self, params: Params) -> str | None:
        """Return the session that params name."""

    @abstractmethod
    async def begin(self) -> None:
        """Shake hands and begin a session."""

    @abstractmethod
    async def turn(self, text: str) -> str:
        """Say something; return the agent's answer, empty if the turn ended without one.

        Raises:
            CallFailed: The turn has failed.

        """

    def told(self, method: str, params: Params) -> None:  # noqa: B027 - not all have it
        """Take in a notification."""

    def asked(self, method: str, params: Params) -> Any:
        """Answer a request of the agent's."""
        self.complaints.append(f"asked for {method}")

    # -- a conversation ----------------------------------------------------------------------

    def heard(self, piece: str) -> None:
        """Take in what the agent says."""
        self.words += piece
        if DONE in self.words[-200:]:
            self._good.set()

    async def settle(self) -> None:  # noqa: B027 - not all have it
        """Wait until the agent is ready for the next turn."""

    async def converse(self, fault: Fault | None = None) -> None:
        """Greet, have the task done, and go on with the next."""
        await self.begin()
        for _ in range(1 if fault is None else fault.greetings):
            assert DONE in await self.turn(GREETING)
            await asyncio.sleep(_BETWEEN)
        self.words = ""
        self._good.clear()
        await self.have_it_done(fault)
        await self._good.wait()
        await self.settle()
        for _ in range(_MORE):
            answer = await self.turn(AFTERWARDS)
            assert DONE in answer, f"no answer, but {answer!r}"

    async def have_it_done(self, fault: Fault | None) -> None:
        """Ask for the task: once, or again and again until it is done."""
        while not self.closed:
            try:
                if DONE in await self.turn(TASK):
                    return
            except CallFailed as error:
                self.failures.append(str(error))
            if fault is None or not fault.asks_again:
                return
            await asyncio.sleep(_BETWEEN)
