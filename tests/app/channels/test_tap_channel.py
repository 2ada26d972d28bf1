"""The channel of a tapped connection: what is sent, what is held back, what the client sees."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError

from debbie_otel.errors import ChannelError
from debbie_otel.session.events import CallEnded, Event
from tests.transports.acting import (
    Agent,
    asking,
    echoing,
    error,
    hear,
    notification,
    request,
    result,
    scene,
    soon,
)
from tests.transports.raw import TIMEOUT, until

COMPRESSION = pytest.mark.parametrize("compression", [None, "deflate"])


@COMPRESSION
async def test_the_answer_to_a_request_of_ours_is_ours_alone(
    tmp_path: Path, compression: str | None
) -> None:
    async with scene(echoing, tmp_path, compression=compression) as stage:
        client = await stage.client(compression=compression)
        for number in range(3):
            await client.send(request(number, "say", word="hello " * 20))
            assert (await hear(client))["id"] == number
        sent = stage.channel().request("ours", {"a": 1})
        await client.send(request(7, "theirs"))
        answer = await soon(sent.answer)
        assert answer.result == {"method": "ours", "params": {"a": 1}}
        assert (await hear(client))["id"] == 7
        for number in range(3):
            await client.send(request(number, "say", word="hello " * 20))
            assert (await hear(client))["result"]["params"] == {"word": "hello " * 20}


@COMPRESSION
async def test_an_answer_of_ours_takes_the_place_of_the_servers_own(
    tmp_path: Path, compression: str | None
) -> None:
    agent = Agent()
    async with scene(agent, tmp_path, compression=compression) as stage:
        client = await stage.client(compression=compression)
        await client.send(request(5, "ask"))
        await agent.until_heard(1)
        channel = stage.channel()
        (call,) = channel._model.pending_calls
        sent = channel.request("again", None, replaces=call)
        assert await agent.until_heard(2) == {"jsonrpc": "2.0", "id": sent.id, "method": "again"}
        await agent.say(result(5, "the server's own"))
        await agent.say(notification("meanwhile"))
        await agent.say(result(sent.id, "better"))
        await agent.say(notification("afterwards"))
        assert (await hear(client))["method"] == "meanwhile"
        assert await hear(client) == {"jsonrpc": "2.0", "id": 5, "result": "better"}
        assert (await hear(client))["method"] == "afterwards"
        assert (await soon(sent.answer)).result == "better"


async def test_the_servers_own_answer_is_kept_back_also_when_it_comes_last(tmp_path: Path) -> None:
    agent = Agent()
    async with scene(agent, tmp_path) as stage:
        client = await stage.client()
        await client.send(request("c", "ask"))
        await agent.until_heard(1)
        channel = stage.channel()
        (call,) = channel._model.pending_calls
        sent = channel.request("again", {}, replaces=call)
        await agent.say(result(sent.id, "better"))
        await agent.say(result("c", "too late"))
        await agent.say(notification("afterwards"))
        assert (await hear(client))["result"] == "better"
        assert (await hear(client))["method"] == "afterwards"
        assert not channel._model.pending_calls
        assert channel._down.reframer is not None  # it was compressed, and is plain from now on


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_if_ours_fails_the_servers_own_answer_goes_through(
    tmp_path: Path, first: str
) -> None:
    async with asking(tmp_path) as (stage, agent, client):
        channel = stage.channel()
        (call,) = channel._model.pending_calls
        channel.hold(call)
        sent = channel.request("again", {}, replaces=call)
        replies = [error(sent.id, -32603, "no"), result(1, "own")]
        for reply in replies if first == "ours" else reversed(replies):
            await agent.say(reply)
        assert await hear(client) == {"jsonrpc": "2.0", "id": 1, "result": "own"}
        assert (await soon(sent.answer)).error == "-32603: no"


async def test_a_held_answer_waits_for_its_release(tmp_path: Path) -> None:
    agent = Agent()
    async with scene(agent, tmp_path, compression=None) as stage:
        client = await stage.client(compression=None)
        await client.send(request(1, "ask"))
        await client.send(request(2, "ask"))
        await agent.until_heard(2)
        channel = stage.channel()
        first, second = channel._model.pending_calls
        channel.hold(first)
        channel.hold(second)
        await agent.say(result(1, "held"))
        await agent.say(notification("meanwhile"))
        assert (await hear(client))["method"] == "meanwhile"
        channel.release(first)
        assert (await hear(client))["result"] == "held"
        channel.release(second)
        await agent.say(result(2, "not held"))
        assert (await hear(client))["result"] == "not held"
        with pytest.raises(ChannelError):
            channel.hold(first)


async def test_what_is_held_goes_through_when_the_server_leaves(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, agent, client):
        channel = stage.channel()
        (call,) = channel._model.pending_calls
        channel.hold(call)
        sent = channel.request("ours", {})
        await agent.say(result(1, "held"))
        await agent.say(notification("seen"))
        assert (await hear(client))["method"] == "seen"
        agent.connections[0].transport.close()
        assert (await hear(client))["result"] == "held"
        with pytest.raises(ChannelError):
            await soon(sent.answer)
        with pytest.raises(ChannelError):
            channel.request("ours", {})


async def test_our_member_of_a_batch_is_taken_out_of_it(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, agent, client):
        sent = stage.channel().request("ours", {})
        await agent.say(f"[{notification('a')}, {result(sent.id, 'x')},{result(1, 'y')}]")
        batch = await hear(client)
        assert [m.get("method", m.get("result")) for m in batch] == ["a", "y"]
        assert (await soon(sent.answer)).result == "x"
        second = stage.channel().request("ours", {})
        await agent.say(f"[{result(second.id, 'x')}]")
        await agent.say(notification("after"))
        assert (await hear(client))["method"] == "after"


@COMPRESSION
async def test_several_at_once_under_a_flood(tmp_path: Path, compression: str | None) -> None:
    async with scene(echoing, tmp_path, compression=compression) as stage:
        client = await stage.client(compression=compression)
        count = 2000
        await client.send(request("first", "hello"))
        await hear(client)

        async def flood() -> None:
            for number in range(count):
                await client.send(request(number, "say", text="abc" * (number % 50)))

        async def read() -> list[Any]:
            return [await hear(client) for _ in range(count)]

        async def inject() -> list[Any]:
            answers = []
            for burst in range(10):
                sent = [stage.channel().request("ours", {"n": burst * 8 + i}) for i in range(8)]
                answers += [await soon(request.answer) for request in sent]
            return answers

        _, seen, answers = await asyncio.gather(flood(), read(), inject())
        assert [message["id"] for message in seen] == list(range(count))
        assert all(m["result"]["params"]["text"] == "abc" * (m["id"] % 50) for m in seen)
        assert [answer.result["params"]["n"] for answer in answers] == list(range(80))


async def test_an_injection_waits_for_the_end_of_a_fragmented_message(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, agent, client):
        gate = asyncio.Event()

        async def fragments() -> Any:
            yield '{"jsonrpc":"2.0",'
            await gate.wait()
            yield '"id":2,"method":"long","params":{}}'

        sending = asyncio.gather(client.send(fragments()))
        wire = stage.interceptors()[0].wire
        up = wire.parser(stage.channel()._up.direction)
        assert up is not None
        await until(lambda: not up.boundary)
        sent = stage.channel().request("ours", {})
        stage.channel().notify("more", {})
        assert len(agent.heard) == 1
        gate.set()
        await sending
        await agent.until_heard(4)
        assert [m["method"] for m in agent.heard] == ["ask", "long", "ours", "more"]
        await agent.say(result(sent.id, None))
        assert (await soon(sent.answer)).result is None


async def test_two_connections_never_mix(tmp_path: Path) -> None:
    async with scene(echoing, tmp_path) as stage:
        clients = [await stage.client() for _ in range(2)]
        for number, client in enumerate(clients):
            await client.send(request(1, f"from-{number}"))
            await hear(client)
        sent = [stage.channel(number).request("ours", {"to": number}) for number in range(2)]
        assert sent[0].id != sent[1].id
        for number, request_ in enumerate(sent):
            assert (await soon(request_.answer)).result["params"] == {"to": number}
        for number, client in enumerate(clients):
            await client.send(request(2, f"from-{number}"))
            assert (await hear(client))["result"]["method"] == f"from-{number}"


async def test_requests_are_versioned_as_the_clients_are(tmp_path: Path) -> None:
    agent = Agent()
    async with scene(agent, tmp_path) as stage:
        client = await stage.client()
        await client.send('{"id":0,"method":"initialize","params":{}}')
        await agent.until_heard(1)
        sent = stage.channel().request("turn/steer", {"x": 1})
        assert await agent.until_heard(2) == {
            "id": sent.id,
            "method": "turn/steer",
            "params": {"x": 1},
        }
        await agent.say(json.dumps({"id": sent.id, "result": {}}))
        assert (await soon(sent.answer)).result == {}


async def test_the_model_knows_what_was_injected(tmp_path: Path) -> None:
    async with scene(echoing, tmp_path) as stage:
        client = await stage.client()
        await client.send(request(1, "ask"))
        await hear(client)
        events: list[Event] = []
        stage.it.debbie.monitor.subscribe(events.append, CallEnded)
        await soon(stage.channel().request("ours", {}).answer)
        await client.send(request(2, "ask"))
        await hear(client)
        calls = [event.call for event in events if isinstance(event, CallEnded)]
        assert [(call.method, call.injected) for call in calls] == [("ours", True), ("ask", False)]


async def test_outstanding_requests_are_bounded(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, _agent, _client):
        for _ in range(32):
            stage.channel().request("ours", {})
        with pytest.raises(ChannelError, match="32"):
            stage.channel().request("ours", {})


async def test_a_failure_of_ours_costs_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(echoing, tmp_path, strict=False) as stage:
        client = await stage.client()
        await client.send(request(1, "ask"))
        await hear(client)
        sent = stage.channel().request("ours", {})
        monkeypatch.setattr(stage.channel()._mediator, "server_sent", lambda *_: 1 // 0)
        await client.send(request(2, "ask"))
        seen = [(await hear(client))["id"] for _ in range(2)]
        assert seen == [sent.id, 2]  # the client sees more than it should, but misses nothing
        assert stage.it.tap.counters.inspection_errors == 2


async def test_under_test_a_failure_of_ours_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        async with scene(echoing, tmp_path) as stage:
            client = await stage.client()
            await client.send(request(1, "ask"))
            await hear(client)
            stage.channel().request("ours", {})
            monkeypatch.setattr(stage.channel()._mediator, "server_sent", lambda *_: 1 // 0)
            await hear(client)

    with pytest.raises(ExceptionGroup) as caught:
        await fail()
    assert caught.group_contains(ZeroDivisionError)


async def test_what_is_held_goes_through_before_a_close_frame(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, agent, client):
        channel = stage.channel()
        channel.hold(*channel._model.pending_calls)
        await agent.say(result(1, "held"))
        await agent.connections[0].close(4001, "bye")
        assert (await hear(client))["result"] == "held"
        with pytest.raises(ConnectionClosedError, match="4001"):
            await hear(client)
        with pytest.raises(ChannelError):
            channel.notify("ours", {})


async def test_a_client_that_leaves_is_not_taken_for_a_server_that_does(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, _, client):
        channel = stage.channel()
        request = channel.request("ours", {})
        await client.close()
        with pytest.raises(ChannelError, match="the client has left"):
            await asyncio.wait_for(request.answer, TIMEOUT)
        assert channel.ended is not None


async def test_nothing_is_left_of_a_connection_that_is_over(tmp_path: Path) -> None:
    async with scene(echoing, tmp_path) as stage:
        client = await stage.client()
        await client.send(request(1, "ask"))
        await hear(client)
        await soon(stage.channel().request("ours", {}).answer)
        references: list[weakref.ref[Any]] = [
            weakref.ref(stage.channel()),
            weakref.ref(stage.interceptors()[0]),
        ]
        gc.collect()
        gc.disable()
        try:
            await client.close()
            await until(lambda: not stage.interceptors())
            await until(lambda: all(reference() is None for reference in references))
        finally:
            gc.enable()


async def test_what_inflates_for_a_slow_reader_waits_for_it(tmp_path: Path) -> None:
    """A server's message of 64 MiB of zeros takes 64 KiB on the wire."""
    agent = Agent()
    async with scene(agent, tmp_path, sections={"proxy": {"max_message_size": 2**16}}) as stage:
        client = await stage.client(max_queue=1)
        await client.send(request(1, "ask"))
        await agent.until_heard(1)
        channel = stage.channel()
        sent = channel.request("ours", {})
        await agent.say(result(sent.id, "held back: plain from now on"))
        await soon(sent.answer)
        transport = channel._connection.client.transport
        assert transport is not None
        client.transport.pause_reading()
        size = 2**26
        await agent.say("0" * size)
        await until(lambda: not channel._connection.client.writable)
        for _ in range(100):
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() < 2**20
        client.transport.resume_reading()
        assert len(await soon(client.recv())) == size
        await agent.say(notification("after"))
        assert (await hear(client))["method"] == "after"
