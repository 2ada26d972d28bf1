"""Two real connections of websockets over loopback: the subject, plain or wrapped, and its peer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio import client as asyncio_client
from websockets.asyncio import server as asyncio_server
from websockets.sync import client as sync_client
from websockets.sync import server as sync_server

from debbie_otel.app.clock import wall_clock
from debbie_otel.app.interceptor import InterceptorParts, WebSocketInterceptor
from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.errors import FailOpen
from debbie_otel.session import events as ev
from debbie_otel.session.dialect.registry import Dialects, builtin_dialects
from debbie_otel.transports.program.intercepting_websocket import InterceptingWebSocket
from debbie_otel.wire.direction import MessageDirection
from tests.play import C2S, S2C, stories

TIMEOUT = 5.0


class Ear:
    """Observes connections with real interceptors, and keeps what they heard."""

    def __init__(self, max_message_size: int = 8 << 20) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.events: list[ev.Event] = []
        self.monitor = DebbieMonitor()
        self.monitor.subscribe(self.events.append)
        self._max_message_size = max_message_size

    def interceptor(self, key: str = "conn") -> WebSocketInterceptor:
        return WebSocketInterceptor(
            key,
            InterceptorParts(
                dialects=Dialects(builtin_dialects(), "generic"),
                monitor=self.monitor,
                clock=wall_clock(),
                guard=FailOpen(strict=True),
                sink=self._hear,
                max_message_size=self._max_message_size,
            ),
        )

    def _hear(self, _: int, conn: str, direction: MessageDirection, payload: bytes) -> None:
        mark = ">>" if direction is C2S else "<<"
        self.heard.append((("" if conn == "conn" else conn) + mark, payload))

    def stories(self) -> list[str]:
        return stories(self.events)


@dataclass
class Pair:
    """The subject of a test, and who talks to it.

    `heard` is what an observer of the subject should have heard, as (mark, payload); nothing where
    the subject is plain.
    """

    subject: Any
    plain: Any
    peer: Any
    role: str
    ear: Ear
    wrapped: bool
    out: str = field(init=False)
    into: str = field(init=False)

    def __post_init__(self) -> None:
        self.out, self.into = (">>", "<<") if self.role == "client" else ("<<", ">>")

    def heard(self, *expected: tuple[str, bytes]) -> bool:
        """Tell whether the observer heard exactly this; a plain subject has none."""
        assert self.ear.heard == (list(expected) if self.wrapped else [])
        return True


def wrap(connection: Any, ear: Ear, wrapped: bool) -> Any:
    return InterceptingWebSocket(connection, ear.interceptor()) if wrapped else connection


def make(client: Any, server: Any, role: str, wrapped: bool, ear: Ear | None = None) -> Pair:
    ear = ear or Ear()
    plain, peer = (client, server) if role == "client" else (server, client)
    return Pair(wrap(plain, ear, wrapped), plain, peer, role, ear, wrapped)


@contextlib.asynccontextmanager
async def asyncio_ends(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Yield a client's and a server's connection; options are of both."""
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handler(connection: asyncio_server.ServerConnection) -> None:
        accepted.set_result(connection)
        await over.wait()

    async with asyncio_server.serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"ws://127.0.0.1:{port}/path?q=1"
        async with asyncio_client.connect(url, proxy=None, **options) as client:
            try:
                yield client, await asyncio.wait_for(accepted, TIMEOUT)
            finally:
                over.set()


@contextlib.contextmanager
def sync_ends(**options: Any) -> Iterator[tuple[Any, Any]]:
    """The same of `websockets.sync`."""
    accepted: list[Any] = []
    there, over = threading.Event(), threading.Event()

    def handler(connection: sync_server.ServerConnection) -> None:
        accepted.append(connection)
        there.set()
        over.wait(TIMEOUT)

    with sync_server.serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        try:
            with sync_client.connect(f"ws://127.0.0.1:{port}/", proxy=None, **options) as client:
                assert there.wait(TIMEOUT)
                try:
                    yield client, accepted[0]
                finally:
                    over.set()
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


@contextlib.asynccontextmanager
async def legacy_ends(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """The same of `websockets.legacy`, whose import and use warn of its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from websockets.legacy.client import connect
        from websockets.legacy.server import serve

        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()

        async def handler(connection: Any) -> None:
            accepted.set_result(connection)
            await over.wait()

        async with serve(handler, "127.0.0.1", 0, **options) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}/", **options) as client:
                try:
                    yield client, await asyncio.wait_for(accepted, TIMEOUT)
                finally:
                    over.set()


@contextlib.asynccontextmanager
async def trio_ends(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """The same of `websockets.trio`, in a run of trio."""
    import trio
    from websockets.trio.client import connect
    from websockets.trio.server import serve

    accepted: list[Any] = []
    there, over = trio.Event(), trio.Event()

    async def handler(connection: Any) -> None:
        accepted.append(connection)
        there.set()
        await over.wait()

    async def serving(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        await serve(handler, 0, host="127.0.0.1", task_status=task_status, **options)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serving)
        port = server.listeners[0].socket.getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None, **options) as client:
            await there.wait()
            try:
                yield client, accepted[0]
            finally:
                over.set()
        nursery.cancel_scope.cancel()


async def gated(gate: asyncio.Event, first: str, *more: str) -> AsyncIterator[str]:
    """Yield a piece at once, and the others when the gate is open."""
    yield first
    await gate.wait()
    for piece in more:
        yield piece


def sends_fragments(connection: Any) -> bool:
    """Tell whether an asyncio connection of websockets is amid a fragmented message."""
    newer = hasattr(connection, "send_in_progress")  # its name since version 16
    waiter = connection.send_in_progress if newer else connection.fragmented_send_waiter
    return waiter is not None


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - what the library does sets no event of ours
            await asyncio.sleep(0.001)


__all__ = [
    "C2S",
    "S2C",
    "Ear",
    "Pair",
    "asyncio_ends",
    "gated",
    "legacy_ends",
    "make",
    "sends_fragments",
    "sync_ends",
    "trio_ends",
]
