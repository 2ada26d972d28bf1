"""Acting on a connection of this process's own; the program must not notice any of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request

from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Answer, RestartPlan
from tests.transports.pairs import (
    TIMEOUT,
    eventually,
    gated,
    legacy_ends,
    sends_fragments,
    sync_ends,
)
from tests.transports.scenes import Scene, error, result, silent

OURS = Answer(raw=b'{"jsonrpc": "2.0", "id": 99, "result": {"from": "debbie"}}')
"""The answer to another request."""


class Connected(Scene):
    """The program is the client; its server says only what a test tells it to say."""

    def __init__(self, debbie: DebbieDebugger, client: Any, server: Any) -> None:
        super().__init__(debbie, debbie.intercept_websocket(client), server)
        self.plain = client


@pytest_asyncio.fixture
async def debbie(tmp_path: Path) -> AsyncIterator[DebbieDebugger]:
    async with silent(tmp_path) as started:
        yield started


@pytest_asyncio.fixture
async def scene(debbie: DebbieDebugger) -> AsyncIterator[Connected]:
    accepted: asyncio.Queue[ServerConnection] = asyncio.Queue()
    over = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        accepted.put_nowait(connection)
        await over.wait()

    headers = {"Authorization": "Bearer secret", "Cookie": "a=b"}
    async with asyncio.timeout(2 * TIMEOUT), serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"ws://127.0.0.1:{port}/agent?x=1"
        async with connect(url, proxy=None, additional_headers=headers) as client:
            made = Connected(debbie, client, await accepted.get())
            made.accepted = accepted  # type: ignore[attr-defined]
            await made.client.send("{}")
            await made.read()
            try:
                yield made
            finally:
                over.set()


# -- requests of ours ------------------------------------------------------------------------


async def test_the_program_never_gets_an_answer_to_us(scene: Connected) -> None:
    request = scene.channel.request("nudge", {"a": 1})
    sent = await scene.read()
    assert sent == {"jsonrpc": "2.0", "id": request.id, "method": "nudge", "params": {"a": 1}}
    await scene.say(result(request.id, {"b": 2}))
    await scene.say({"jsonrpc": "2.0", "method": "news"})
    assert await scene.hear() == {"jsonrpc": "2.0", "method": "news"}
    assert (await request.answer).result == {"b": 2}
    assert scene.client._self_link.incoming.filter is None  # nothing more is expected


async def test_nor_under_iteration(scene: Connected) -> None:
    iterating = asyncio.ensure_future(anext(aiter(scene.client)))  # noqa: TID251
    request = scene.channel.request("nudge", None)
    await scene.read()
    await scene.say(error(request.id))
    assert (await request.answer).error == "-32000: no"
    assert not iterating.done()
    await scene.say({"theirs": 1})
    assert json.loads(await iterating) == {"theirs": 1}


async def test_nor_after_a_cancelled_recv_or_one_that_timed_out(scene: Connected) -> None:
    request = scene.channel.request("nudge", {})
    await scene.read()
    receiving = asyncio.get_running_loop().create_task(scene.client.recv())
    await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await scene.say(result(request.id))
    await request.answer
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(scene.client.recv(), 0.05)
    await scene.say({"theirs": 1})
    assert await scene.hear() == {"theirs": 1}


async def test_nor_in_a_batch(scene: Connected) -> None:
    request = scene.channel.request("nudge", {})
    await scene.read()
    await scene.say([result(request.id), {"jsonrpc": "2.0", "method": "news"}])
    assert await scene.hear() == [{"jsonrpc": "2.0", "method": "news"}]
    await request.answer


async def test_messages_go_in_order_and_between_those_of_the_program(scene: Connected) -> None:
    gate = asyncio.Event()
    sending = asyncio.get_running_loop().create_task(
        scene.client.send(gated(gate, '{"in', '": "pieces"}'))
    )
    await eventually(lambda: sends_fragments(scene.plain))
    for number in range(3):
        scene.channel.notify("step", {"number": number})
    gate.set()
    await sending
    read = [await scene.read() for _ in range(4)]
    assert read[0] == {"in": "pieces"}
    assert [message["params"]["number"] for message in read[1:]] == [0, 1, 2]


async def test_the_model_knows_it_as_ours(scene: Connected) -> None:
    request = scene.channel.request("nudge", {})
    await scene.read()
    assert [(call.id, call.injected) for call in scene.calls()] == [(request.id, True)]


async def test_the_end_of_the_connection_is_the_end_of_the_wait(scene: Connected) -> None:
    channel = scene.channel
    request = channel.request("nudge", {})
    await scene.read()
    await scene.server.close()
    with pytest.raises(ChannelError, match="closed"):
        await request.answer
    await scene.client.wait_closed()
    for attempt in (
        lambda: channel.request("nudge", {}),
        lambda: channel.notify("nudge", {}),
    ):
        with pytest.raises(ChannelError, match="closed"):
            attempt()


async def test_a_request_that_cannot_be_sent_fails(scene: Connected) -> None:
    scene.plain.transport.abort()
    request = scene.channel.request("nudge", {})
    with pytest.raises(ChannelError):
        await request.answer


async def test_it_cannot_be_restarted(scene: Connected) -> None:
    with pytest.raises(ChannelError, match="in-process"):
        await scene.channel.restart(RestartPlan())


# -- answers to the program's requests -------------------------------------------------------


@pytest.mark.parametrize("first", ["answer", "release"])
async def test_a_held_answer_comes_when_it_is_released(scene: Connected, first: str) -> None:
    await scene.ask(1)
    call, channel = scene.call(1), scene.channel
    channel.hold(call)
    if first == "answer":
        await scene.say(result(1))
        await eventually(lambda: call.ended_ns is not None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(scene.client.recv(), 0.02)
        channel.release(call)
    else:
        channel.release(call)
        await scene.say(result(1))
    assert await scene.hear() == result(1)


async def test_our_answer_takes_the_place_of_another(scene: Connected) -> None:
    await scene.ask(1)
    request = scene.channel.request("again", {}, replaces=scene.call(1))
    await scene.read()
    await scene.say(result(request.id, {"from": "ours"}))
    assert await scene.hear() == result(1, {"from": "ours"})
    await scene.say(result(1, {"from": "theirs"}))
    await scene.say({"next": 1})
    assert await scene.hear() == {"next": 1}


async def test_an_error_for_us_lets_the_other_answer_through(scene: Connected) -> None:
    await scene.ask(1)
    request = scene.channel.request("again", {}, replaces=scene.call(1))
    await scene.read()
    await scene.say(result(1, {"from": "theirs"}))
    await scene.say(error(request.id))
    assert await scene.hear() == result(1, {"from": "theirs"})


async def test_an_answer_in_the_servers_place(scene: Connected) -> None:
    await scene.ask(1)
    call, channel = scene.call(1), scene.channel
    channel.hold(call)
    channel.answer(call, OURS)
    assert await scene.hear() == result(1, {"from": "debbie"})
    await scene.say(result(1))
    await scene.say({"next": 1})
    assert await scene.hear() == {"next": 1}


async def test_a_held_answer_is_never_put_into_a_fragmented_message(scene: Connected) -> None:
    await scene.ask(1)
    gate = asyncio.Event()
    sending = asyncio.get_running_loop().create_task(scene.server.send(gated(gate, "one", "two")))
    streaming = aiter(scene.client.recv_streaming())
    assert await anext(streaming) == "one"
    call, channel = scene.call(1), scene.channel
    channel.hold(call)
    channel.answer(call, OURS)
    gate.set()
    assert [piece async for piece in streaming] == ["two", ""]
    await sending
    assert await scene.hear() == result(1, {"from": "debbie"})


async def test_what_is_held_comes_at_the_end(scene: Connected) -> None:
    await scene.ask(1)
    scene.channel.hold(scene.call(1))
    await scene.say(result(1))
    await scene.server.close()
    assert await scene.hear() == result(1)


# -- beside the connection -------------------------------------------------------------------


async def test_a_side_connection_says_what_the_program_said(scene: Connected) -> None:
    accepted: asyncio.Queue[ServerConnection] = scene.accepted  # type: ignore[attr-defined]
    side = await scene.channel.side()
    other: Any = await accepted.get()
    assert other.request.path == "/agent?x=1"
    for name in ("Authorization", "Cookie", "Host", "User-Agent"):
        assert other.request.headers[name] == scene.server.request.headers[name]
    request = side.request("nudge", {"a": 1})
    sent = json.loads(await other.recv())
    assert sent["method"] == "nudge"
    await other.send(json.dumps(result(sent["id"], {"b": 2})))
    assert (await request.answer).result == {"b": 2}
    await side.close()
    await scene.say({"theirs": 1})
    assert await scene.hear() == {"theirs": 1}


async def test_a_server_that_is_gone(scene: Connected) -> None:
    plain = scene.plain
    request = plain.request
    plain.request = Request("/", Headers({"Host": "127.0.0.1:1"}))
    channel = scene.channel
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(plain), "remote_address", property(lambda _: ("127.0.0.1", 1)))
            with pytest.raises(ChannelError, match="cannot be reached"):
                await channel.side()
    finally:
        plain.request = request


# -- other connections -----------------------------------------------------------------------


async def test_a_connection_of_threads(debbie: DebbieDebugger) -> None:
    """Debbie's event loop, the program's thread and the connection's own are three."""
    ready: asyncio.Future[Connected] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    over = threading.Event()
    got: list[Any] = []

    def program() -> None:
        with sync_ends() as (client, server):
            scene = Connected(debbie, client, server)
            scene.client.send('{"jsonrpc": "2.0", "id": 1, "method": "work"}')
            server.recv(TIMEOUT)
            loop.call_soon_threadsafe(ready.set_result, scene)
            got.append(json.loads(scene.client.recv(TIMEOUT)))
            got.append(json.loads(scene.client.recv(TIMEOUT)))
            over.wait(TIMEOUT)

    running = asyncio.create_task(asyncio.to_thread(program))  # noqa: TID251
    scene = await asyncio.wait_for(ready, TIMEOUT)
    call, channel = scene.call(1), scene.channel
    channel.hold(call)
    request = channel.request("nudge", {})
    sent = json.loads(await asyncio.to_thread(scene.server.recv, TIMEOUT))
    scene.server.send(json.dumps(result(1)))
    scene.server.send(json.dumps(result(sent["id"], {"b": 2})))
    assert (await asyncio.wait_for(request.answer, TIMEOUT)).result == {"b": 2}
    assert got == []
    scene.server.send('{"theirs": 1}')
    await eventually(lambda: len(got) == 1)
    channel.release(call)
    await eventually(lambda: len(got) == 2)
    over.set()
    await running
    assert got == [{"theirs": 1}, result(1)]


async def test_a_connection_of_the_legacy_package(debbie: DebbieDebugger) -> None:
    async with legacy_ends() as (client, server):
        scene = Connected(debbie, client, server)
        await scene.ask(1)
        call, channel = scene.call(1), scene.channel
        channel.hold(call)
        request = channel.request("nudge", {})
        sent = await scene.read()
        await scene.say(result(1))
        await scene.say(result(sent["id"]))
        await request.answer
        receiving = asyncio.get_running_loop().create_task(scene.client.recv())
        await asyncio.sleep(0)
        channel.release(call)
        assert json.loads(await asyncio.wait_for(receiving, TIMEOUT)) == result(1)
