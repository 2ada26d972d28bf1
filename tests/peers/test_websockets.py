"""What websockets' own client and server do by themselves, with Debbie between them.

They come with Debbie, so that no peer has to be installed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.peers.between import Watched, watched

MESSAGES = 50


async def answer(connection: ServerConnection) -> None:
    """Answer every request; close as a request `close` says."""
    async for text in connection:
        request = json.loads(text)
        if request["method"] == "close":
            await connection.close(*request["params"])
            return
        await connection.send(json.dumps({"id": request["id"], "result": request["params"]}))


@asynccontextmanager
async def between(data_dir: Path, compression: str | None = "deflate") -> AsyncIterator[Watched]:
    async with (
        asyncio.timeout(20),
        serve(answer, "127.0.0.1", 0, compression=compression) as server,
        watched(next(iter(server.sockets)).getsockname()[1], data_dir) as watch,
    ):
        yield watch


def connected(watch: Watched) -> connect:
    """Return a client, with websockets' defaults but for a proxy of the environment."""
    return connect(f"ws://127.0.0.1:{watch.port}", proxy=None)


def request(number: int, method: str = "echo", params: object = ()) -> str:
    return json.dumps({"id": number, "method": method, "params": params})


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_what_they_agree_on_is_inspected(tmp_path: Path, compression: str | None) -> None:
    async with between(tmp_path, compression) as watch, connected(watch) as client:
        assert client.response is not None
        agreed = client.response.headers.get("Sec-WebSocket-Extensions")
        assert (agreed is not None) == (compression is not None)
        for number in range(MESSAGES):
            await client.send(request(number, params=["the same words"] * number))
            assert json.loads(await client.recv())["id"] == number
    assert watch.behind == watch.before
    assert watch.metrics.total("debbie.messages", debbie__message__type="request") == MESSAGES
    assert watch.metrics.total("debbie.messages", debbie__message__type="response") == MESSAGES
    assert watch.metrics.total("debbie.uninspected") == 0
    assert len(watch.spans.named("echo")) == MESSAGES


async def test_a_ping_is_answered_by_the_server_itself(tmp_path: Path) -> None:
    async with between(tmp_path) as watch, connected(watch) as client:
        latency = await (await client.ping(b"are you there"))
    assert 0 < latency < 1
    assert client.latency == latency
    ((up, down),) = watch.behind
    assert b"are you there" in down  # a server's frames are not masked
    assert [(up, down)] == watch.before


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1011, "agent broke"), (4321, "own")])
async def test_close_codes_of_the_server_reach_the_client(
    tmp_path: Path, code: int, reason: str
) -> None:
    async with between(tmp_path) as watch, connected(watch) as client:
        await client.send(request(1, "close", [code, reason]))
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert (client.close_code, client.close_reason) == (code, reason)
    call = watch.spans.one("close")
    assert call.attributes["error.type"] == "connection_closed"
    assert watch.behind == watch.before
