"""Acting on a connection that this process serves; its client must not notice any of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.server import broadcast

from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Answer, RestartPlan
from tests.transports.pairs import (
    TIMEOUT,
    asyncio_ends,
    eventually,
    gated,
    legacy_ends,
    sends_fragments,
    sync_ends,
    trio_ends,
)
from tests.transports.scenes import NEWS, Scene, request, result, silent

OURS = Answer(raw=b'{"jsonrpc": "2.0", "id": 99, "result": {"from": "debbie"}}')
"""The answer to another request."""


class Served(Scene):
    """The program serves the connection."""

    def __init__(self, debbie: DebbieDebugger, client: Any, server: Any) -> None:
        super().__init__(debbie, client, debbie.intercept_websocket(server))
        self.plain = server

    def messages(self) -> int:
        """Return how many were counted."""
        counted: int = self.debbie.get_statistics()["messages"]
        return counted


@pytest_asyncio.fixture
async def debbie(tmp_path: Path) -> AsyncIterator[DebbieDebugger]:
    async with silent(tmp_path) as started:
        yield started


@pytest_asyncio.fixture(params=["deflate", None], ids=["deflate", "plain"])
async def scene(debbie: DebbieDebugger, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with asyncio.timeout(2 * TIMEOUT), asyncio_ends(compression=request.param) as ends:
        made = Served(debbie, *ends)
        await made.client.send("{}")
        await made.read()
        yield made


# -- requests of ours ------------------------------------------------------------------------


async def test_the_client_never_gets_an_answer_to_us(scene: Served) -> None:
    asked = scene.channel.request("nudge", {"a": 1})
    got = await scene.read()
    assert got == {"jsonrpc": "2.0", "id": asked.id, "method": "nudge", "params": {"a": 1}}
    await scene.say(result(asked.id, {"b": 2}))
    await scene.say(NEWS)
    assert await scene.hear() == NEWS
    assert (await asked.answer).result == {"b": 2}
    assert scene.server._self_link.outgoing.is_open  # nothing more is expected


async def test_nor_in_a_batch(scene: Served) -> None:
    asked = scene.channel.request("nudge", {})
    await scene.read()
    await scene.say([result(asked.id), NEWS])
    assert await scene.hear() == [NEWS]
    await asked.answer


async def test_nor_in_fragments_while_others_keep_theirs(scene: Served) -> None:
    asked = scene.channel.request("nudge", {})
    await scene.read()
    await scene.server.send(['{"ne', 'ws": ', "1}"])
    answer = json.dumps(result(asked.id))
    await scene.server.send([answer[:9], answer[9:]])
    await scene.server.send([b"\0", b"\1"])
    assert [piece async for piece in scene.client.recv_streaming()] == ['{"ne', 'ws": ', "1}", ""]
    assert await scene.client.recv() == b"\0\1"
    await asked.answer


async def test_nor_by_broadcast(scene: Served) -> None:
    asked = scene.channel.request("nudge", {})
    await scene.read()
    broadcast([scene.plain], json.dumps(result(asked.id)))
    broadcast([scene.plain], json.dumps(NEWS))
    assert await scene.hear() == NEWS
    await asked.answer


async def test_it_comes_in_order_and_between_the_clients_own(scene: Served) -> None:
    gate = asyncio.Event()
    sending = asyncio.get_running_loop().create_task(
        scene.client.send(gated(gate, '{"in', '": "pieces"}'))
    )
    streaming = scene.server.recv_streaming()
    assert await anext(streaming) == '{"in'
    for number in range(3):
        scene.channel.notify("step", {"number": number})
    await eventually(lambda: scene.messages() == 4)
    gate.set()
    assert "".join([piece async for piece in streaming]) == '": "pieces"}'
    await sending
    assert [(await scene.read())["params"]["number"] for _ in range(3)] == [0, 1, 2]


async def test_it_wakes_up_whoever_iterates(scene: Served) -> None:
    iterating = asyncio.ensure_future(anext(aiter(scene.server)))  # noqa: TID251
    await asyncio.sleep(0)
    scene.channel.notify("step", None)
    assert json.loads(await iterating)["method"] == "step"


async def test_the_model_knows_it_as_ours_and_counts_it_once(scene: Served) -> None:
    asked = scene.channel.request("nudge", {})
    await scene.read()
    assert [(call.id, call.injected) for call in scene.calls()] == [(asked.id, True)]
    await scene.say(result(asked.id))
    await asked.answer
    assert scene.calls() == []
    assert scene.messages() == 3


async def test_the_end_of_the_connection_is_the_end_of_the_wait(scene: Served) -> None:
    channel = scene.channel
    asked = channel.request("nudge", {})
    await scene.read()
    await scene.client.close()
    with pytest.raises(ChannelError, match="closed"):
        await asked.answer
    with pytest.raises(ChannelError, match="closed"):
        channel.notify("nudge", {})


async def test_what_only_a_client_can_do(scene: Served) -> None:
    with pytest.raises(ChannelError, match="in-process"):
        await scene.channel.restart(RestartPlan())
    with pytest.raises(ChannelError, match="beside"):
        await scene.channel.side()


# -- answers that are held back --------------------------------------------------------------


async def test_a_held_answer_leaves_once_when_it_is_released(scene: Served) -> None:
    await scene.ask(1)
    call = scene.call(1)
    scene.channel.hold(call)
    await scene.say(result(1, {"held": True}))
    await scene.say(NEWS)
    assert await scene.hear() == NEWS
    before = scene.messages()
    scene.channel.release(call)
    assert await scene.hear() == result(1, {"held": True})
    assert scene.messages() == before  # it was seen when the program sent it
    await scene.say(NEWS)
    assert await scene.hear() == NEWS


async def test_our_answer_takes_the_place_of_another(scene: Served) -> None:
    await scene.ask(1)
    asked = scene.channel.request("work", {}, replaces=scene.call(1))
    await scene.read()
    await scene.say(result(1, {"first": True}))
    await scene.say(result(asked.id, {"second": True}))
    assert await scene.hear() == result(1, {"second": True})
    await scene.say(NEWS)
    assert await scene.hear() == NEWS
    assert scene.calls() == []


async def test_an_answer_in_the_programs_place_waits_for_a_fragmented_message(
    scene: Served,
) -> None:
    await scene.ask(1)
    call = scene.call(1)
    scene.channel.hold(call)
    gate = asyncio.Event()
    sending = asyncio.get_running_loop().create_task(
        scene.server.send(gated(gate, '{"in', '": "pieces"}'))
    )
    await eventually(lambda: sends_fragments(scene.plain))
    scene.channel.answer(call, OURS)
    gate.set()
    await sending
    assert [await scene.hear(), await scene.hear()] == [
        {"in": "pieces"},
        result(1, {"from": "debbie"}),
    ]


async def test_what_is_held_leaves_when_debbie_stops(scene: Served) -> None:
    await scene.ask(1)
    scene.channel.hold(scene.call(1))
    await scene.say(result(1))
    await scene.debbie.stop()
    assert await scene.hear() == result(1)


# -- other connections -----------------------------------------------------------------------


async def test_a_connection_of_threads(debbie: DebbieDebugger) -> None:
    """Debbie's event loop, the program's thread and the connection's own are three."""
    ready: asyncio.Future[Served] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    over = threading.Event()
    got: list[Any] = []

    def program() -> None:
        with sync_ends() as (client, server):
            scene = Served(debbie, client, server)
            client.send(request(1))
            scene.server.recv(TIMEOUT)
            loop.call_soon_threadsafe(ready.set_result, scene)
            ours = json.loads(scene.server.recv(TIMEOUT))
            scene.server.send(json.dumps(result(ours["id"], {"b": 2})))
            scene.server.send(json.dumps(result(1)))
            scene.server.send(json.dumps(NEWS))
            got.append(json.loads(client.recv(TIMEOUT)))
            got.append(json.loads(client.recv(TIMEOUT)))
            over.wait(TIMEOUT)

    running = asyncio.create_task(asyncio.to_thread(program))  # noqa: TID251
    scene = await asyncio.wait_for(ready, TIMEOUT)
    call, channel = scene.call(1), scene.channel
    channel.hold(call)
    asked = channel.request("nudge", {})
    assert (await asyncio.wait_for(asked.answer, TIMEOUT)).result == {"b": 2}
    await eventually(lambda: len(got) == 1)
    channel.release(call)
    await eventually(lambda: len(got) == 2)
    over.set()
    await running
    assert got == [NEWS, result(1)]


async def test_a_connection_of_the_legacy_package(debbie: DebbieDebugger) -> None:
    async with legacy_ends() as (client, server):
        scene = Served(debbie, client, server)
        await scene.ask(1)
        call, channel = scene.call(1), scene.channel
        channel.hold(call)
        asked = channel.request("nudge", {})
        assert (await scene.read())["id"] == asked.id
        await scene.say(result(1))
        answer = json.dumps(result(asked.id))
        await scene.server.send([answer[:9], answer[9:]])
        await asked.answer
        await scene.say(NEWS)
        assert await scene.hear() == NEWS
        channel.release(call)
        assert await scene.hear() == result(1)


async def test_a_connection_of_trio(debbie: DebbieDebugger) -> None:
    """Trio runs in a thread of its own, Debbie in this one."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    pytest.importorskip("websockets.trio", reason="websockets before 17 has no trio")
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Served] = loop.create_future()
    got: list[Any] = []

    async def program() -> None:
        async with trio_ends() as (client, server):
            scene = Served(debbie, client, server)
            await client.send(request(1))
            await scene.server.recv()
            loop.call_soon_threadsafe(ready.set_result, scene)
            ours = json.loads(await scene.server.recv())
            await scene.server.send(json.dumps(result(ours["id"])))
            await scene.server.send(json.dumps(result(1)))
            got.append(json.loads(await client.recv()))

    def run() -> None:
        with_limit = trio.fail_after(TIMEOUT)

        async def limited() -> None:
            with with_limit:
                await program()

        trio.run(limited)

    running = asyncio.create_task(asyncio.to_thread(run))  # noqa: TID251
    scene = await asyncio.wait_for(ready, TIMEOUT)
    call, channel = scene.call(1), scene.channel
    channel.hold(call)
    asked = channel.request("nudge", {})
    await asyncio.wait_for(asked.answer, TIMEOUT)
    await eventually(lambda: scene.calls() == [])
    assert got == []
    channel.release(call)
    await running
    assert got == [result(1)]
