"""What interventions in a program need: a filter of what it receives, and messages of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK

from tests.transports.pairs import (
    TIMEOUT,
    Pair,
    asyncio_ends,
    eventually,
    gated,
    make,
    sends_fragments,
)


@pytest_asyncio.fixture(params=["client", "server"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with asyncio.timeout(2 * TIMEOUT), asyncio_ends(close_timeout=1.0) as ends:
        yield make(*ends, request.param, wrapped=True)


def secret(payload: bytes) -> bytes | None:
    """Hold back what begins with `ours`, and rewrite what begins with `old`."""
    if payload.startswith(b"ours"):
        return None
    return payload.replace(b"old", b"new") if payload.startswith(b"old") else payload


def task(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


async def test_what_is_held_back_is_observed_and_never_received(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    for message in ("a", "ours 1", b"ours 2", "b"):
        await pair.peer.send(message)
    assert [await pair.subject.recv(), await pair.subject.recv()] == ["a", "b"]
    into = pair.into
    assert pair.heard((into, b"a"), (into, b"ours 1"), (into, b"ours 2"), (into, b"b"))


async def test_a_recv_goes_on_waiting(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    receiving = task(pair.subject.recv())
    await pair.peer.send("ours")
    await eventually(lambda: len(pair.ear.heard) == 1)
    assert not receiving.done()
    await pair.peer.send("theirs")
    assert await receiving == "theirs"


async def test_a_time_limit_holds_though_something_was_held_back(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    await pair.peer.send("ours")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pair.subject.recv(), 0.05)
    assert pair.heard((pair.into, b"ours"))
    await pair.peer.send("theirs")
    assert await pair.subject.recv() == "theirs"


async def test_a_cancelled_recv_gets_nothing_of_ours_the_next_time(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    receiving = task(pair.subject.recv())
    await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    for message in ("ours", "theirs", "ours"):
        await pair.peer.send(message)
    await pair.peer.close()
    assert [message async for message in pair.subject] == ["theirs"]


async def test_iteration_skips_it(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    iterating = task(anext(aiter(pair.subject)))
    await pair.peer.send("ours")
    await eventually(lambda: len(pair.ear.heard) == 1)
    assert not iterating.done()
    await pair.peer.send("theirs")
    assert await iterating == "theirs"


async def test_a_message_can_be_replaced(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    await pair.peer.send("old 😀")
    await pair.peer.send(b"old")
    await pair.peer.send(["o", "ld"])
    assert [await pair.subject.recv() for _ in range(3)] == ["new 😀", b"new", "new"]


async def test_fragments_are_judged_together_and_left_as_they_are(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    await pair.peer.send(["ou", "rs"])
    await pair.peer.send(["o", "thers"])
    assert [f async for f in pair.subject.recv_streaming()] == ["o", "thers", ""]
    assert pair.heard((pair.into, b"ours"), (pair.into, b"others"))


async def test_a_ping_between_held_fragments_is_answered(pair: Pair) -> None:
    pair.subject.set_filter(secret)

    async def pieces() -> AsyncIterator[str]:
        yield "one"
        await (await pair.peer.ping())
        yield "two"

    await pair.peer.send(pieces())
    assert await pair.subject.recv() == "onetwo"


async def test_a_close_lets_an_unfinished_message_go(pair: Pair) -> None:
    """As without a filter, the program gets no half message, but the reason why."""
    pair.subject.set_filter(secret)

    async def pieces() -> AsyncIterator[str]:
        yield "one"
        await pair.peer.close()
        yield "two"

    with pytest.raises(ConnectionClosed):
        await pair.peer.send(pieces())
    with pytest.raises((ConnectionClosedOK, ConnectionClosedError)):
        await pair.subject.recv()


async def test_without_a_filter_all_is_received_again(pair: Pair) -> None:
    pair.subject.set_filter(secret)
    await pair.peer.send("ours")
    await eventually(lambda: len(pair.ear.heard) == 1)
    pair.subject.set_filter(None)
    await pair.peer.send("ours again")
    assert await pair.subject.recv() == "ours again"


async def test_a_filter_set_within_a_message_judges_from_the_next_on(pair: Pair) -> None:
    gate = asyncio.Event()
    sending = task(pair.peer.send(gated(gate, "ours", "!")))
    streaming = aiter(pair.subject.recv_streaming())
    assert await anext(streaming) == "ours"
    pair.subject.set_filter(secret)
    gate.set()
    assert [fragment async for fragment in streaming] == ["!", ""]
    await sending


async def test_a_message_that_is_too_large_to_be_ours_is_not_held() -> None:
    async with asyncio.timeout(2 * TIMEOUT), asyncio_ends() as (client, server):
        from tests.transports.pairs import Ear

        pair = make(client, server, "client", wrapped=True, ear=Ear(max_message_size=10))
        pair.subject.set_filter(secret)
        await pair.peer.send("ours" * 4)
        await pair.peer.send(["ours" * 4, "!"])
        assert await pair.subject.recv() == "ours" * 4
        assert await pair.subject.recv() == "ours" * 4 + "!"


# -- messages of our own ---------------------------------------------------------------------


async def test_an_injected_message_is_observed_as_sent(pair: Pair) -> None:
    await pair.subject.inject("ours")
    assert await pair.peer.recv() == "ours"
    assert pair.heard((pair.out, b"ours"))


async def test_an_injected_message_never_gets_into_a_fragmented_one(pair: Pair) -> None:
    gate = asyncio.Event()
    sending = task(pair.subject.send(gated(gate, "one", "two")))
    await eventually(lambda: sends_fragments(pair.plain))
    injecting = task(pair.subject.inject("ours"))
    await asyncio.sleep(0)
    assert not injecting.done()
    gate.set()
    await asyncio.gather(sending, injecting)
    assert [await pair.peer.recv(), await pair.peer.recv()] == ["onetwo", "ours"]


async def test_injection_from_another_thread(pair: Pair) -> None:
    def elsewhere() -> None:
        asyncio.run(pair.subject.inject("from a thread"))

    await asyncio.to_thread(elsewhere)
    assert await pair.peer.recv() == "from a thread"


async def test_injection_after_the_end_says_so(pair: Pair) -> None:
    await pair.subject.close()
    with pytest.raises(ConnectionClosedOK):
        await pair.subject.inject("too late")


# -- who observes ----------------------------------------------------------------------------


async def test_what_nobody_has_read_yet_counts_too() -> None:
    async with asyncio.timeout(2 * TIMEOUT), asyncio_ends() as (client, server):
        await server.send("early")
        await server.send(["in ", "pieces"])
        await eventually(lambda: len(client.recv_messages.frames) == 4)
        pair = make(client, server, "client", wrapped=True)
        assert pair.heard(("<<", b"early"), ("<<", b"in pieces"))
        assert [await pair.subject.recv(), await pair.subject.recv()] == ["early", "in pieces"]


async def test_the_last_observer_observes_alone(pair: Pair) -> None:
    await pair.subject.send("first")
    again = make(*_ends(pair), pair.role, wrapped=True)
    await again.subject.send("second")
    assert pair.heard((pair.out, b"first"))
    assert again.heard((again.out, b"second"))
    assert pair.ear.stories()[-1].endswith("ended: handed_over")


def _ends(pair: Pair) -> tuple[Any, Any]:
    return (pair.subject, pair.peer) if pair.role == "client" else (pair.peer, pair.subject)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_end_of_the_connection_ends_its_sessions(pair: Pair, how: str) -> None:
    await pair.subject.send('{"jsonrpc": "2.0", "id": 1, "method": "work"}')
    if how == "close":
        await pair.peer.close()
    else:
        pair.peer.transport.abort()
    await pair.subject.wait_closed()
    reason = "disconnected" if how == "close" else "connection_lost"
    assert pair.ear.stories()[-2:] == [
        "call work aborted connection_closed",
        f"session conn ended: {reason}",
    ]
    assert not pair.ear.monitor.connections
    assert not {"send_text", "events_received"} & set(vars(pair.plain.protocol))


async def test_no_connection_of_websockets() -> None:
    from debbie_otel.transports.program.intercepting_websocket import InterceptingWebSocket
    from tests.transports.pairs import Ear

    with pytest.raises(TypeError, match="no connection of websockets: object"):
        InterceptingWebSocket(object(), Ear().interceptor())
