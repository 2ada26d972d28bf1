"""MCP tools that are silent for long: only slow, as long as the server lives, or hung."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.integration.proxied import Proxied, config, proxied

SECONDS = 15.0
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
CALL = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "work"}}


class Slow:
    """An MCP server of one tool.

    Attributes:
        pongs: Pings that it answers; afterwards its tool ends, if it `ends`.
        pings: Those that have come.
        connections: So many there were.

    """

    def __init__(self, *, pongs: int, ends: bool) -> None:
        self.pongs = pongs
        self.pings = 0
        self.connections = 0
        self._ends = ends
        self._waiting: list[Any] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        async for text in connection:
            asked = json.loads(text)
            if asked["method"] == "tools/call":
                self._waiting.append(asked["id"])
            elif asked["method"] == "ping":
                await self._ping(connection, asked["id"])
            elif "id" in asked:
                await self._answer(connection, asked["id"])

    async def _ping(self, connection: ServerConnection, call_id: Any) -> None:
        self.pings += 1
        if self.pings <= self.pongs:
            await self._answer(connection, call_id)
        if self.pings == self.pongs and self._ends:
            await self._answer(connection, self._waiting.pop())

    @staticmethod
    async def _answer(connection: ServerConnection, call_id: Any) -> None:
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": call_id, "result": {}}))


@contextlib.asynccontextmanager
async def calling(slow: Slow, data_dir: Path, **interventions: Any) -> AsyncIterator[Any]:
    """Call the tool through Debbie; yield who waits for the answer, and the proxy."""
    async with asyncio.timeout(SECONDS), serve(slow, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = config(
            f"ws://127.0.0.1:{port}",
            data_dir,
            proxy={"dialect": "mcp"},
            detection={"enabled": True, "check_interval": 0.05, "stall_threshold": 0.2},
            interventions={"request_timeout": 0.5, "retry_delay": 0.0} | interventions,
        )
        async with proxied(settings) as it, connect(it.url(), proxy=None) as client:
            for message in (INITIALIZE, CALL):
                await client.send(json.dumps(message))
            assert json.loads(await client.recv())["id"] == 1
            yield client, it


def told(it: Proxied) -> list[tuple[str, str, str]]:
    assert it.debbie.interventions is not None
    records = it.debbie.interventions.history.recent()
    return [(r.strategy, str(r.result), r.reason) for r in reversed(records)]


ALIVE = ("session_restart", "skipped", "alive")


async def test_a_slow_tool_of_a_server_that_lives_is_waited_for(tmp_path: Path) -> None:
    slow = Slow(pongs=2, ends=True)
    async with calling(slow, tmp_path) as (client, it):
        assert json.loads(await client.recv()) == {"jsonrpc": "2.0", "id": 2, "result": {}}
        assert told(it).count(ALIVE) == 1, "once, however often it was looked at"
        assert {result for _, result, _ in told(it)} == {"skipped"}
        await client.send(json.dumps(INITIALIZE | {"id": 3}))
        assert json.loads(await client.recv())["id"] == 3, "and nothing came in between"
    assert (slow.pings, slow.connections) == (2, 1)


async def test_after_a_while_it_has_hung(tmp_path: Path) -> None:
    slow = Slow(pongs=100, ends=False)
    async with calling(slow, tmp_path, tool_patience=4.0, recovery_timeout=1.0) as (client, it):
        answer = json.loads(await client.recv())
        assert (answer["id"], "error" in answer) == (2, True), "given up, as the client is told"
        assert told(it).count(ALIVE) == 1
    assert slow.connections == 2
    assert 2 <= slow.pings <= 5


async def test_a_server_that_answers_nothing_has_hung(tmp_path: Path) -> None:
    slow = Slow(pongs=0, ends=False)
    async with calling(slow, tmp_path, recovery_timeout=1.0) as (client, it):
        answer = json.loads(await client.recv())
        assert (answer["id"], "error" in answer) == (2, True)
        assert ALIVE not in told(it)
    assert (slow.pings, slow.connections) == (1, 2)
