"""Connections of `websockets.trio`, plain and wrapped: the same assertions hold for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from tests.transports.pairs import TIMEOUT, Pair, make, trio_ends

trio = pytest.importorskip("trio")
pytest.importorskip("websockets.trio", reason="websockets before 17 has no trio")

KINDS = [(role, wrapped) for role in ("client", "server") for wrapped in (False, True)]
both = pytest.mark.parametrize(
    "kind", KINDS, ids=[f"{role}-{'wrapped' if wrapped else 'plain'}" for role, wrapped in KINDS]
)
wrapped_only = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1]])


def play(kind: tuple[str, bool], scene: Callable[[Pair], Awaitable[None]]) -> None:
    """Run a scene with a pair of connections in trio."""

    async def run() -> None:
        with trio.fail_after(2 * TIMEOUT):
            async with trio_ends(close_timeout=1.0) as ends:
                await scene(make(*ends, *kind))

    trio.run(run)


async def later(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        await trio.lowlevel.checkpoint()
        yield piece


@both
@pytest.mark.parametrize(
    ("message", "received"),
    [
        (lambda: "😀", "😀"),
        (lambda: bytearray(b"12"), b"12"),
        (lambda: ["⏳", "⌛"], "⏳⌛"),
        (lambda: later(b"1", b"2"), b"12"),
    ],
)
def test_send_takes_every_kind_of_payload(
    kind: tuple[str, bool], message: Callable[[], Any], received: Any
) -> None:
    async def scene(pair: Pair) -> None:
        await pair.subject.send(message())
        assert await pair.peer.recv() == received
        payload = received.encode() if isinstance(received, str) else received
        assert pair.heard((pair.out, payload))

    play(kind, scene)


@both
def test_every_way_to_receive(kind: tuple[str, bool]) -> None:
    async def scene(pair: Pair) -> None:
        await pair.peer.send("one")
        await pair.peer.send(["tw", "o"])
        await pair.peer.send(b"three")
        await pair.peer.send("four")
        assert await pair.subject.recv() == "one"
        assert [f async for f in pair.subject.recv_streaming()] == ["tw", "o", ""]
        assert await pair.subject.recv(decode=True) == "three"
        await pair.peer.aclose()
        assert [message async for message in pair.subject] == ["four"]
        with pytest.raises(ConnectionClosedOK):
            await pair.subject.recv()
        into = pair.into
        assert pair.heard((into, b"one"), (into, b"two"), (into, b"three"), (into, b"four"))

    play(kind, scene)


@both
def test_a_recv_that_timed_out_loses_nothing(kind: tuple[str, bool]) -> None:
    async def scene(pair: Pair) -> None:
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.01):
            await pair.subject.recv()
        await pair.peer.send("kept")
        assert await pair.subject.recv() == "kept"

    play(kind, scene)


@both
def test_ping_close_and_properties(kind: tuple[str, bool]) -> None:
    async def scene(pair: Pair) -> None:
        await (await pair.subject.ping("hello")).wait()
        await pair.subject.pong("unsolicited")
        assert pair.subject.request.path == "/"
        assert isinstance(pair.subject, type(pair.plain))
        await pair.peer.aclose(1011, "broken")
        with pytest.raises(ConnectionClosedError, match="broken"):
            await pair.subject.recv()
        async with pair.subject:
            assert (pair.subject.close_code, pair.subject.close_reason) == (1011, "broken")

    play(kind, scene)


# -- filter and injection --------------------------------------------------------------------


def ours(payload: bytes) -> bytes | None:
    return None if payload.startswith(b"ours") else payload


@wrapped_only
def test_what_is_held_back_is_never_received(kind: tuple[str, bool]) -> None:
    async def scene(pair: Pair) -> None:
        pair.subject.set_filter(ours)
        for message in ("ours", "a", ["ou", "rs"], "b"):
            await pair.peer.send(message)
        assert [await pair.subject.recv(), await pair.subject.recv()] == ["a", "b"]
        await pair.peer.send("ours")
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await pair.subject.recv()

    play(kind, scene)


@wrapped_only
def test_injection_from_within_and_from_a_thread_with_asyncio(kind: tuple[str, bool]) -> None:
    async def scene(pair: Pair) -> None:
        await pair.subject.inject("from within")
        await trio.to_thread.run_sync(lambda: asyncio.run(pair.subject.inject("from a thread")))
        assert [await pair.peer.recv(), await pair.peer.recv()] == ["from within", "from a thread"]

    play(kind, scene)


@wrapped_only
def test_what_nobody_has_read_yet_counts_too(kind: tuple[str, bool]) -> None:
    async def run() -> None:
        async with trio_ends(close_timeout=1.0) as (client, server):
            plain, peer = (client, server) if kind[0] == "client" else (server, client)
            await peer.send("early")
            await (await peer.ping()).wait()  # so that all before it has come
            pair = make(client, server, *kind)
            assert pair.heard((pair.into, b"early"))
            assert await plain.recv() == "early"

    trio.run(run)
