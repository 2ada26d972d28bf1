"""A client and a server with a proxy between them that acts: for tests of channels."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve

from debbie_otel.app.channels.tap_channel import TapChannel
from debbie_otel.app.interceptor import WebSocketInterceptor
from tests.integration.proxied import Proxied, config, proxied
from tests.transports.raw import TIMEOUT, until

Handler = Callable[[ServerConnection], Awaitable[None]]


class Scene:
    """A proxy before a server.

    Attributes:
        it: The proxy.
        server: The server behind it.
        clients: Through the proxy, in the order in which they connected.

    """

    def __init__(self, it: Proxied, server: Server) -> None:
        self.it = it
        self.server = server
        self.clients: list[ClientConnection] = []

    async def client(self, **options: Any) -> ClientConnection:
        """Connect another client, closed with the scene."""
        client = await connect(
            self.it.url(options.pop("path", "/ws")), proxy=None, max_size=None, **options
        )
        self.clients.append(client)
        return client

    def interceptors(self) -> list[WebSocketInterceptor]:
        return self.it.debbie.interceptors

    def channel_count(self) -> int:
        """How many connections can be acted on."""
        return sum(i.channel is not None for i in self.interceptors())

    def channel(self, number: int = 0) -> TapChannel:
        """The channel of the client of that number."""
        acting = [i.channel for i in self.interceptors() if i.channel is not None]
        channel = acting[number]
        assert isinstance(channel, TapChannel)
        return channel


@contextlib.asynccontextmanager
async def scene(handler: Handler, data_dir: Path, **options: Any) -> AsyncIterator[Scene]:
    """Run a server with a proxy before it."""
    sections, strict = options.pop("sections", {}), options.pop("strict", True)
    async with serve(handler, "127.0.0.1", 0, max_size=None, **options) as server:
        port = server.sockets[0].getsockname()[1]
        async with proxied(
            config(f"ws://127.0.0.1:{port}", data_dir, **sections), strict=strict
        ) as it:
            stage = Scene(it, server)
            try:
                yield stage
            finally:
                for client in stage.clients:
                    await client.close()


def request(call_id: Any, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params})


def result(call_id: Any, value: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "result": value})


def error(call_id: Any, code: int, message: str) -> str:
    body = {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}
    return json.dumps(body)


def notification(method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params})


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, TIMEOUT)


async def hear(client: ClientConnection) -> Any:
    """Return the next message, decoded."""
    return json.loads(await soon(client.recv()))


async def echoing(connection: ServerConnection) -> None:
    """Answer every request with its own method and params; tell of every notification."""
    async for text in connection:
        message = json.loads(text)
        value = {"method": message["method"], "params": message.get("params")}
        if "id" in message:
            await connection.send(result(message["id"], value))
        else:
            await connection.send(notification("heard", **value))


class Agent:
    """A server whose answers are in the test's hands."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.heard: list[Any] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        async for text in connection:
            self.heard.append(json.loads(text))

    async def until_heard(self, count: int) -> Any:
        await until(lambda: len(self.heard) >= count)
        return self.heard[count - 1]

    async def say(self, text: str, number: int = 0) -> None:
        await self.connections[number].send(text)


@contextlib.asynccontextmanager
async def asking(
    data_dir: Path, **options: Any
) -> AsyncIterator[tuple[Scene, Agent, ClientConnection]]:
    """Run an agent behind a proxy, which a client has asked once, with the id 1."""
    agent = Agent()
    async with scene(agent, data_dir, **options) as stage:
        client = await stage.client(compression=options.get("compression", "deflate"))
        await client.send(request(1, "ask"))
        await agent.until_heard(1)
        yield stage, agent, client
