"""Clients that are made in other ways than AIWhisperer's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from debbie_otel import InterceptingWebSocket, integrate_debbie_with_batch_client
from debbie_otel.demo.agent import ScriptedAgent
from tests.integrations.clients import request
from tests.integrations.stage import Stage
from tests.transports.pairs import eventually


class SlottedSocket:
    """Has slots, and keeps its connection under another name."""

    __slots__ = ("_ws", "uri")

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def websocket(self) -> ClientConnection:
        return self._ws

    async def connect(self) -> None:
        self._ws = await connect(self.uri, proxy=None)


class HiddenSocket:
    """Keeps its connection where no `__setattr__` sees it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def websocket(self) -> ClientConnection:
        found: ClientConnection = vars(self)["hidden"]
        return found

    async def connect(self) -> None:
        vars(self)["hidden"] = await connect(self.uri, proxy=None)


class Unruly:
    """A client with a property for what others keep in an attribute; runs as it is told.

    Args:
        socket: Of a WebSocket client.

    """

    def __init__(self, uri: str, socket: type[SlottedSocket] | type[HiddenSocket]) -> None:
        self.uri = uri
        self.socket = socket
        self.answer: Any = None

    @property
    def client(self) -> SlottedSocket | HiddenSocket:
        return self._client

    @client.setter
    def client(self, value: SlottedSocket | HiddenSocket) -> None:
        self._client = value

    async def main(self) -> str:
        self.client = self.socket(self.uri)
        await self.client.connect()
        async with self.client.websocket as connection:
            await connection.send(request(1, "echo", {"message": "hi"}))
            self.answer = json.loads(await connection.recv())["result"]
        return "done"

    def run(self) -> Any:
        return self.main()


class Blocking(Unruly):
    def run(self) -> str:
        return asyncio.run(self.main())


class Direct:
    """Holds the connection itself."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    async def run(self) -> str:
        self.connection = await connect(self.uri, proxy=None)
        await self.connection.send(request(1, "echo", {"message": "hi"}))
        self.answer = json.loads(await self.connection.recv())["result"]
        await self.connection.close()
        return "done"


@pytest.mark.parametrize("socket", [SlottedSocket, HiddenSocket])
async def test_a_run_that_returns_an_awaitable(
    stage: Stage, agent: ScriptedAgent, socket: type[SlottedSocket] | type[HiddenSocket]
) -> None:
    client = await integrate_debbie_with_batch_client(Unruly(agent.url, socket), stage.debbie)
    assert await client.run() == "done"
    assert client.answer == "hi"
    assert not stage.debbie.is_running
    assert stage.calls == ["echo"]
    assert type(client.client) is socket


async def test_a_run_that_blocks_its_thread(stage: Stage, agent: ScriptedAgent) -> None:
    client = Blocking(agent.url, SlottedSocket)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    assert await asyncio.to_thread(client.run) == "done"
    assert client.answer == "hi"
    assert not stage.debbie.is_running
    assert stage.calls == ["echo"]


async def test_a_run_that_blocks_the_loop(stage: Stage) -> None:
    class Brief:
        def run(self) -> int:
            return 3

    client = await integrate_debbie_with_batch_client(Brief(), stage.debbie)
    assert client.run() == 3
    await eventually(lambda: not stage.debbie.is_running)


async def test_a_client_that_holds_its_connection_itself(
    stage: Stage, agent: ScriptedAgent
) -> None:
    client = await integrate_debbie_with_batch_client(Direct(agent.url), stage.debbie)
    assert await client.run() == "done"
    assert client.answer == "hi"
    assert stage.calls == ["echo"]
    assert type(client.connection) is ClientConnection


async def test_a_client_that_connects_again(stage: Stage, agent: ScriptedAgent) -> None:
    class Restless(Direct):
        async def run(self) -> str:
            for _ in range(3):
                await super().run()
            return "done"

    client = await integrate_debbie_with_batch_client(Restless(agent.url), stage.debbie)
    assert await client.run() == "done"
    assert stage.calls == ["echo"] * 3
    assert type(client.connection) is ClientConnection


async def test_a_socket_whose_class_is_fixed(stage: Stage, agent: ScriptedAgent) -> None:
    """What it holds already is seen."""

    class Holding:
        def __init__(self, connection: ClientConnection) -> None:
            self.ws_client = SimpleNamespace(connection=connection)

        async def run(self) -> None:
            connection = self.ws_client.connection
            assert isinstance(connection, InterceptingWebSocket)
            await connection.send(request(1, "echo", {"message": "hi"}))
            assert json.loads(await connection.recv())["result"] == "hi"

    async with connect(agent.url, proxy=None) as connection:
        client = await integrate_debbie_with_batch_client(Holding(connection), stage.debbie)
        await client.run()
        assert client.ws_client.connection is connection
    assert stage.calls == ["echo"]


async def test_what_is_no_websocket_is_left_alone(stage: Stage) -> None:
    class Odd:
        """Holds what looks like a client, and is none."""

        def __init__(self) -> None:
            self.database = sqlite3.connect(":memory:")
            self.strange = Strange()
            self.connect = [1].append

        async def run(self) -> int:
            self.connection = self.database
            return 4

    class Strange:
        @property
        def connection(self) -> None:
            raise RuntimeError("not yet")

    client = Odd()
    with contextlib.closing(client.database):
        await integrate_debbie_with_batch_client(client, stage.debbie)
        assert await client.run() == 4
        assert client.connection is client.database
    assert type(client.strange) is Strange


async def test_what_cannot_be_looked_after(stage: Stage) -> None:
    async def run() -> None:
        """Does nothing."""

    with pytest.raises(TypeError):
        await integrate_debbie_with_batch_client(SimpleNamespace(run=run), stage.debbie)
    assert not stage.debbie.is_running
    async with stage.debbie:
        with pytest.raises(TypeError):
            await integrate_debbie_with_batch_client(SimpleNamespace(run=run), stage.debbie)
        assert stage.debbie.is_running
