"""Connections of `websockets.legacy`, plain and wrapped: the same assertions hold for both."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from tests.transports.pairs import TIMEOUT, Ear, Pair, eventually, gated, legacy_ends, make

KINDS = [(role, wrapped) for role in ("client", "server") for wrapped in (False, True)]


@pytest_asyncio.fixture(
    params=KINDS, ids=[f"{role}-{'wrapped' if wrapped else 'plain'}" for role, wrapped in KINDS]
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with asyncio.timeout(2 * TIMEOUT), legacy_ends(close_timeout=1.0) as ends:
        yield make(*ends, *request.param)


@pytest_asyncio.fixture(params=["client", "server"])
async def wrapped(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with asyncio.timeout(2 * TIMEOUT), legacy_ends(close_timeout=1.0) as ends:
        yield make(*ends, request.param, wrapped=True)


async def later(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


@pytest.mark.parametrize(
    ("message", "received"),
    [
        (lambda: "😀", "😀"),
        (lambda: bytearray(b"12"), b"12"),
        (lambda: ["⏳", "⌛"], "⏳⌛"),
        (lambda: later(b"1", b"2"), b"12"),
    ],
)
async def test_send_takes_every_kind_of_payload(pair: Pair, message: Any, received: Any) -> None:
    await pair.subject.send(message())
    assert await pair.peer.recv() == received
    payload = received.encode() if isinstance(received, str) else received
    assert pair.heard((pair.out, payload))


async def test_every_way_to_receive(pair: Pair) -> None:
    for message in ("one", ["tw", "o"], b"three"):
        await pair.peer.send(message)
    assert [await pair.subject.recv(), await pair.subject.recv()] == ["one", "two"]
    await pair.peer.close()
    assert [message async for message in pair.subject] == [b"three"]
    with pytest.raises(ConnectionClosedOK):
        await pair.subject.recv()
    assert pair.heard((pair.into, b"one"), (pair.into, b"two"), (pair.into, b"three"))


async def test_a_recv_that_timed_out_loses_nothing(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pair.subject.recv(), 0.01)
    await pair.peer.send("kept")
    assert await pair.subject.recv() == "kept"


async def test_ping_close_and_properties(pair: Pair) -> None:
    assert await (await pair.subject.ping("hello")) > 0
    assert isinstance(pair.subject, type(pair.plain))
    assert pair.subject.open
    await pair.peer.close(1011, "broken")
    with pytest.raises(ConnectionClosedError, match="broken"):
        await pair.subject.recv()
    assert pair.subject.closed
    assert (pair.subject.close_code, pair.subject.close_reason) == (1011, "broken")


async def test_broadcast_takes_it(pair: Pair) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from websockets.legacy.protocol import broadcast
    broadcast([pair.subject], "to all")
    assert await pair.peer.recv() == "to all"
    assert pair.heard((pair.out, b"to all"))


# -- filter, injection, the end -----------------------------------------------------------------


def ours(payload: bytes) -> bytes | None:
    return None if payload.startswith(b"ours") else payload.replace(b"old", b"new")


async def test_what_is_held_back_is_never_received(wrapped: Pair) -> None:
    wrapped.subject.set_filter(ours)
    receiving = asyncio.get_running_loop().create_task(wrapped.subject.recv())
    await wrapped.peer.send("ours")
    await eventually(lambda: len(wrapped.ear.heard) == 1)
    assert not receiving.done()
    await wrapped.peer.send("old")
    assert await receiving == "new"
    await wrapped.peer.send(["ou", "rs"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wrapped.subject.recv(), 0.05)
    await wrapped.peer.send(b"old")
    await wrapped.peer.close()
    assert [message async for message in wrapped.subject] == [b"new"]


async def test_an_injected_message_never_gets_into_a_fragmented_one(wrapped: Pair) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    sending = loop.create_task(wrapped.subject.send(gated(gate, "one", "two")))
    await eventually(lambda: wrapped.plain._fragmented_message_waiter is not None)
    injecting = loop.create_task(wrapped.subject.inject("ours"))
    await asyncio.sleep(0)
    assert not injecting.done()
    gate.set()
    await asyncio.gather(sending, injecting)
    assert [await wrapped.peer.recv(), await wrapped.peer.recv()] == ["onetwo", "ours"]


async def test_the_end_of_the_connection_ends_its_sessions(wrapped: Pair) -> None:
    await wrapped.subject.send('{"jsonrpc": "2.0", "id": 1, "method": "work"}')
    await wrapped.peer.close()
    await wrapped.subject.wait_closed()
    assert wrapped.ear.stories()[-1] == "session conn ended: disconnected"
    assert "write_frame_sync" not in vars(wrapped.plain)


async def test_what_nobody_has_read_yet_counts_too() -> None:
    async with asyncio.timeout(TIMEOUT), legacy_ends() as (client, server):
        await server.send("early")
        await eventually(lambda: len(client.messages) == 1)
        pair = make(client, server, "client", wrapped=True)
        again = make(pair.subject, server, "client", wrapped=True, ear=Ear())
        assert pair.heard(("<<", b"early"))
        await again.subject.send("to the last observer")
        assert again.heard((">>", b"to the last observer"))
