"""Connections of `websockets.sync`, plain and wrapped: the same assertions hold for both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK
from websockets.protocol import State
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from tests.transports.pairs import TIMEOUT, Pair, make, sync_ends

KINDS = [(role, wrapped) for role in ("client", "server") for wrapped in (False, True)]


@pytest.fixture(
    params=KINDS, ids=[f"{role}-{'wrapped' if wrapped else 'plain'}" for role, wrapped in KINDS]
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sync_ends(close_timeout=1.0) as ends:
        yield make(*ends, *request.param)


@pytest.fixture(params=["client", "server"])
def wrapped(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sync_ends(close_timeout=1.0) as ends:
        yield make(*ends, request.param, wrapped=True)


@pytest.mark.parametrize(
    ("message", "text", "received"),
    [
        ("😀", None, "😀"),
        ("😀", False, "😀".encode()),
        (bytearray(b"12"), None, b"12"),
        (memoryview(b"34"), True, "34"),
        (["⏳", "⌛"], None, "⏳⌛"),
        ([b"1", b"2"], None, b"12"),
    ],
)
def test_send_takes_every_kind_of_payload(
    pair: Pair, message: Any, text: bool | None, received: Any
) -> None:
    assert pair.subject.send(message, text=text) is None
    assert pair.peer.recv(timeout=TIMEOUT) == received
    payload = received.encode() if isinstance(received, str) else received
    assert pair.heard((pair.out, payload))


@pytest.mark.parametrize("message", [{"a": 1}, 17, [17], ["text", b"bytes"]])
def test_send_rejects_other_types(pair: Pair, message: Any) -> None:
    with pytest.raises(TypeError):
        pair.subject.send(message)
    assert pair.heard()


@pytest.mark.parametrize(
    ("sent", "decode", "received"),
    [
        ("😀", None, "😀"),
        ("😀", False, "😀".encode()),
        (b"text", True, "text"),
        (["a", "b"], None, "ab"),
    ],
)
def test_recv_returns_a_whole_message(
    pair: Pair, sent: Any, decode: bool | None, received: Any
) -> None:
    pair.peer.send(sent)
    assert pair.subject.recv(timeout=TIMEOUT, decode=decode) == received
    assert len(pair.ear.heard) == pair.wrapped


def test_recv_streaming_yields_the_fragments(pair: Pair) -> None:
    pair.peer.send(["⏳", "⌛"])
    assert list(pair.subject.recv_streaming()) == ["⏳", "⌛", ""]
    assert pair.heard((pair.into, "⏳⌛".encode()))


def test_a_recv_that_timed_out_loses_nothing(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        pair.subject.recv(timeout=0.01)
    pair.peer.send("kept")
    assert pair.subject.recv(timeout=TIMEOUT) == "kept"


def test_iteration_ends_with_a_normal_close(pair: Pair) -> None:
    pair.peer.send("a")
    pair.peer.send(b"b")
    pair.peer.close()
    assert list(pair.subject) == ["a", b"b"]
    assert pair.heard((pair.into, b"a"), (pair.into, b"b"))
    with pytest.raises(ConnectionClosedOK):
        pair.subject.recv()
    with pytest.raises(ConnectionClosedOK):
        pair.subject.send("too late")


def test_iteration_raises_after_an_abnormal_close(pair: Pair) -> None:
    pair.peer.close(1011, "broken")
    with pytest.raises(ConnectionClosedError, match="broken"):
        list(pair.subject)
    assert (pair.subject.close_code, pair.subject.close_reason) == (1011, "broken")


def test_ping_and_pong(pair: Pair) -> None:
    assert pair.subject.ping("hello").wait(TIMEOUT)
    pair.subject.pong("unsolicited")
    assert pair.subject.latency > 0
    assert pair.heard()


def test_two_recv_at_once(pair: Pair) -> None:
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(pair.subject.recv(TIMEOUT)))
    thread.start()
    while not pair.plain.recv_messages.get_in_progress:
        assert thread.is_alive()
    with pytest.raises(ConcurrencyError, match="already running recv"):
        pair.subject.recv(timeout=0)
    pair.peer.send("for the first")
    thread.join(TIMEOUT)
    assert got == ["for the first"]


def test_the_context_manager_closes(pair: Pair) -> None:
    with pair.subject as entered:
        assert entered is pair.subject
    assert pair.subject.close_code == 1000
    assert pair.subject.state is State.CLOSED


def test_it_passes_for_the_connection(pair: Pair) -> None:
    kind: type[Any] = ClientConnection if pair.role == "client" else ServerConnection
    assert isinstance(pair.subject, kind)
    for name in ("id", "local_address", "remote_address", "subprotocol", "request", "protocol"):
        assert getattr(pair.subject, name) == getattr(pair.plain, name)
    pair.subject.user = "anna"
    assert pair.plain.user == "anna"


# -- filter and injection --------------------------------------------------------------------


def ours(payload: bytes) -> bytes | None:
    return None if payload.startswith(b"ours") else payload


def test_what_is_held_back_is_never_received(wrapped: Pair) -> None:
    wrapped.subject.set_filter(ours)
    for message in ("ours", "a", "ours", ["ou", "rs"], "b"):
        wrapped.peer.send(message)
    wrapped.peer.close()
    assert list(wrapped.subject) == ["a", "b"]


def test_a_time_limit_holds_though_something_was_held_back(wrapped: Pair) -> None:
    wrapped.subject.set_filter(ours)
    wrapped.peer.send("ours")
    with pytest.raises(TimeoutError):
        wrapped.subject.recv(timeout=0.05)


def test_an_injected_message_never_gets_into_a_fragmented_one(wrapped: Pair) -> None:
    begun, gate = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        yield "one"
        begun.set()
        gate.wait(TIMEOUT)
        yield "two"

    sending = threading.Thread(target=wrapped.subject.send, args=(pieces(),))
    sending.start()
    assert begun.wait(TIMEOUT)

    async def inject() -> None:
        injecting = asyncio.get_running_loop().create_task(wrapped.subject.inject("ours"))
        await asyncio.sleep(0.02)
        assert not injecting.done()
        gate.set()
        await asyncio.wait_for(injecting, TIMEOUT)

    asyncio.run(inject())
    sending.join(TIMEOUT)
    assert [wrapped.peer.recv(TIMEOUT), wrapped.peer.recv(TIMEOUT)] == ["onetwo", "ours"]


def test_what_nobody_has_read_yet_counts_too() -> None:
    with sync_ends() as (client, server):
        server.send("early")
        server.send(["in ", "pieces"])
        assert client.ping().wait(TIMEOUT)  # so that all before it has come
        pair = make(client, server, "client", wrapped=True)
        assert pair.heard(("<<", b"early"), ("<<", b"in pieces"))
        assert [pair.subject.recv(TIMEOUT), pair.subject.recv(TIMEOUT)] == ["early", "in pieces"]
