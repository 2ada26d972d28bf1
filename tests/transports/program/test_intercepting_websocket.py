"""A wrapped connection beside a plain one: the same assertions hold for both.

The cases are those of websockets' own tests of its asyncio connection that an application can
tell; each runs for a client's and a server's connection, plain and wrapped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import broadcast
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
)
from websockets.frames import CloseCode
from websockets.protocol import State

from tests.transports.pairs import (
    TIMEOUT,
    Ear,
    Pair,
    asyncio_ends,
    eventually,
    gated,
    make,
    sends_fragments,
)

KINDS = [(role, wrapped) for role in ("client", "server") for wrapped in (False, True)]


@pytest_asyncio.fixture(
    params=KINDS, ids=[f"{role}-{'wrapped' if wrapped else 'plain'}" for role, wrapped in KINDS]
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    marker = request.node.get_closest_marker("options")
    options: dict[str, Any] = {"close_timeout": 1.0, **(marker.kwargs if marker else {})}
    async with asyncio.timeout(2 * TIMEOUT), asyncio_ends(**options) as ends:
        yield make(*ends, *request.param)


def options(**values: Any) -> pytest.MarkDecorator:
    mark: pytest.MarkDecorator = pytest.mark.options(**values)
    return mark


async def later(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


# -- send ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "text", "received"),
    [
        ("😀", None, "😀"),
        ("😀", False, "😀".encode()),
        (b"\x01\x02\xfe\xff", None, b"\x01\x02\xfe\xff"),
        (bytearray(b"12"), None, b"12"),
        (memoryview(b"34"), None, b"34"),
        (b"text", True, "text"),
        (memoryview(b"view"), True, "view"),
        ("", None, ""),
    ],
)
async def test_send_takes_every_kind_of_payload(
    pair: Pair, message: Any, text: bool | None, received: Any
) -> None:
    assert await pair.subject.send(message, text=text) is None
    assert await pair.peer.recv() == received
    payload = received.encode() if isinstance(received, str) else received
    assert pair.heard((pair.out, payload))


@pytest.mark.parametrize(
    ("message", "fragments"),
    [
        (lambda: ["⏳", "⌛"], ["⏳", "⌛", ""]),
        (lambda: iter([b"\x01", bytearray(b"\x02")]), [b"\x01", b"\x02", b""]),
        (lambda: (piece for piece in ["one"]), ["one", ""]),
        (lambda: later("a", "b"), ["a", "b", ""]),
        (lambda: later(b"a", memoryview(b"b")), [b"a", b"b", b""]),
    ],
)
async def test_send_sends_the_items_of_an_iterable_as_fragments(
    pair: Pair, message: Any, fragments: list[Any]
) -> None:
    await pair.subject.send(message())
    assert [fragment async for fragment in pair.peer.recv_streaming()] == fragments
    whole = b"".join(f.encode() if isinstance(f, str) else f for f in fragments)
    assert pair.heard((pair.out, whole))


@pytest.mark.parametrize("nothing", [[], later()])
async def test_an_empty_iterable_sends_nothing(pair: Pair, nothing: Any) -> None:
    await pair.subject.send(nothing)
    await pair.subject.send("next")
    assert await pair.peer.recv() == "next"
    assert pair.heard((pair.out, b"next"))


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"a": 1}, "data is a dict-like object"),
        (17, "data must be str, bytes, iterable, or async iterable"),
        ([17], "iterable must contain bytes or str"),
        (["text", b"bytes"], "iterable must contain uniform types"),
    ],
)
async def test_send_rejects_other_types(pair: Pair, message: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        await pair.subject.send(message)
    assert pair.heard()


async def test_an_error_among_fragments_closes_the_connection(pair: Pair) -> None:
    with pytest.raises(TypeError):
        await pair.subject.send(["text", b"bytes"])
    with pytest.raises(ConnectionClosedError) as closed:
        await pair.peer.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.INTERNAL_ERROR
    assert pair.heard()


async def test_a_send_waits_for_a_fragmented_one(pair: Pair) -> None:
    gate = asyncio.Event()
    first = asyncio.get_running_loop().create_task(pair.subject.send(gated(gate, "one", "two")))
    await eventually(lambda: sends_fragments(pair.plain))
    second = asyncio.get_running_loop().create_task(pair.subject.send("three"))
    await asyncio.sleep(0)
    assert not second.done()
    gate.set()
    await asyncio.gather(first, second)
    assert [await pair.peer.recv(), await pair.peer.recv()] == ["onetwo", "three"]
    assert pair.heard((pair.out, b"onetwo"), (pair.out, b"three"))


async def test_broadcast_takes_it(pair: Pair) -> None:
    broadcast([pair.subject], "to all")
    assert await pair.peer.recv() == "to all"
    assert pair.heard((pair.out, b"to all"))


async def test_send_after_a_close(pair: Pair) -> None:
    await pair.subject.close()
    with pytest.raises(ConnectionClosedOK):
        await pair.subject.send("too late")
    assert pair.heard()


async def test_send_after_the_peer_was_lost(pair: Pair) -> None:
    pair.peer.transport.abort()
    with pytest.raises(ConnectionClosedError):
        await pair.subject.recv()
    with pytest.raises(ConnectionClosedError):
        await pair.subject.send("too late")
    assert pair.heard()


# -- recv ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "decode", "received"),
    [
        ("😀", None, "😀"),
        (b"\x01\xff", None, b"\x01\xff"),
        ("😀", False, "😀".encode()),
        (b"text", True, "text"),
        (["⏳", "⌛"], None, "⏳⌛"),
        ([b"\x01", b"\x02"], None, b"\x01\x02"),
        (["⏳", "⌛"], False, "⏳⌛".encode()),
    ],
)
async def test_recv_returns_a_whole_message(
    pair: Pair, sent: Any, decode: bool | None, received: Any
) -> None:
    await pair.peer.send(sent)
    assert await pair.subject.recv(decode=decode) == received
    payload = received.encode() if isinstance(received, str) else received
    assert pair.heard((pair.into, payload))


@pytest.mark.parametrize(
    ("sent", "decode", "fragments"),
    [
        ("whole", None, ["whole"]),
        (["⏳", "⌛"], None, ["⏳", "⌛", ""]),
        (["⏳", "⌛"], False, ["⏳".encode(), "⌛".encode(), b""]),
        ([b"a", b"b"], True, ["a", "b", ""]),
    ],
)
async def test_recv_streaming_yields_the_fragments(
    pair: Pair, sent: Any, decode: bool | None, fragments: list[Any]
) -> None:
    await pair.peer.send(sent)
    assert [f async for f in pair.subject.recv_streaming(decode)] == fragments
    whole = b"".join(f.encode() if isinstance(f, str) else f for f in fragments)
    assert pair.heard((pair.into, whole))


async def test_recv_streaming_yields_a_fragment_as_it_comes(pair: Pair) -> None:
    gate = asyncio.Event()
    sending = asyncio.get_running_loop().create_task(pair.peer.send(gated(gate, "one", "two")))
    streaming = aiter(pair.subject.recv_streaming())
    assert await anext(streaming) == "one"
    assert pair.heard()
    gate.set()
    assert [fragment async for fragment in streaming] == ["two", ""]
    await sending
    assert pair.heard((pair.into, b"onetwo"))


async def test_two_recv_at_once(pair: Pair) -> None:
    first = asyncio.get_running_loop().create_task(pair.subject.recv())
    await asyncio.sleep(0)
    with pytest.raises(ConcurrencyError, match="cannot call recv while another coroutine"):
        await pair.subject.recv()
    with pytest.raises(ConcurrencyError, match="cannot call recv_streaming while another"):
        await anext(aiter(pair.subject.recv_streaming()))
    await pair.peer.send("for the first")
    assert await first == "for the first"


async def test_a_cancelled_recv_loses_nothing(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pair.subject.recv()
    await pair.peer.send("kept")
    assert await pair.subject.recv() == "kept"
    assert pair.heard((pair.into, b"kept"))


async def test_a_recv_cancelled_between_fragments_loses_nothing(pair: Pair) -> None:
    gate = asyncio.Event()
    sending = asyncio.get_running_loop().create_task(pair.peer.send(gated(gate, "one", "two")))
    receiving = asyncio.get_running_loop().create_task(pair.subject.recv())
    await eventually(lambda: pair.plain.recv_messages.get_in_progress)
    await eventually(lambda: sends_fragments(pair.peer))
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    gate.set()
    assert await pair.subject.recv() == "onetwo"
    await sending
    assert pair.heard((pair.into, b"onetwo"))


async def test_recv_streaming_cancelled_before_the_first_fragment(pair: Pair) -> None:
    waiting = asyncio.get_running_loop().create_task(anext(aiter(pair.subject.recv_streaming())))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await pair.peer.send(["a", "b"])
    assert [f async for f in pair.subject.recv_streaming()] == ["a", "b", ""]


async def test_recv_streaming_left_half_way_makes_recv_impossible(pair: Pair) -> None:
    await pair.peer.send(["a", "b"])
    async with contextlib.aclosing(pair.subject.recv_streaming()) as streaming:
        assert await anext(streaming) == "a"
    with pytest.raises(ConcurrencyError):
        await pair.subject.recv()


async def test_recv_takes_what_came_before_the_close(pair: Pair) -> None:
    await pair.peer.send("last words")
    await pair.peer.close()
    assert await pair.subject.recv() == "last words"
    with pytest.raises(ConnectionClosedOK) as closed:
        await pair.subject.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.NORMAL_CLOSURE
    assert pair.heard((pair.into, b"last words"))


async def test_recv_waits_until_the_close(pair: Pair) -> None:
    receiving = asyncio.get_running_loop().create_task(pair.subject.recv())
    await pair.peer.close(CloseCode.GOING_AWAY, "bye")
    with pytest.raises(ConnectionClosedOK, match=r"1001.*bye"):
        await receiving


async def test_invalid_text_closes_the_connection(pair: Pair) -> None:
    await pair.peer.send(b"\xff", text=True)
    with pytest.raises(ConnectionClosedError) as closed:
        await pair.subject.recv()
    assert closed.value.sent is not None
    assert closed.value.sent.code == CloseCode.INVALID_DATA
    assert pair.heard((pair.into, b"\xff"))


async def test_invalid_text_in_fragments(pair: Pair) -> None:
    await pair.peer.send([b"ok", b"\xff"], text=True)
    streaming = aiter(pair.subject.recv_streaming())
    assert await anext(streaming) == "ok"
    with pytest.raises(ConnectionClosedError):
        await anext(streaming)


@pytest.mark.parametrize("fragmented", [False, True])
async def test_an_answer_too_large_to_look_at_ends_its_call(fragmented: bool) -> None:
    answer = '{"result":{"x":"' + "y" * 2000 + '"},"jsonrpc":"2.0","id":7}'
    async with asyncio.timeout(2 * TIMEOUT), asyncio_ends() as (client, server):
        pair = make(client, server, "client", wrapped=True, ear=Ear(max_message_size=500))
        await pair.subject.send('{"jsonrpc":"2.0","id":7,"method":"m"}')
        await pair.peer.recv()
        await pair.peer.send([answer[:900], answer[900:-3], answer[-3:]] if fragmented else answer)
        assert await pair.subject.recv() == answer
        assert pair.ear.stories()[-1] == "call m completed"
        mark, recorded = pair.ear.heard[-1]
        left_out = {"left_out": f"{len(answer)} bytes on the wire"}
        assert mark == "<<"
        assert json.loads(recorded) == {"jsonrpc": "2.0", "id": 7, "result": left_out}


@options(max_size=100)
async def test_a_message_larger_than_max_size_closes_the_connection(pair: Pair) -> None:
    await pair.peer.send("x" * 101)
    with pytest.raises(ConnectionClosedError) as closed:
        await pair.subject.recv()
    assert closed.value.sent is not None
    assert closed.value.sent.code == CloseCode.MESSAGE_TOO_BIG
    assert pair.heard()


@options(max_queue=2)
async def test_messages_wait_in_order_when_nobody_reads(pair: Pair) -> None:
    messages = [str(number) * 1000 for number in range(200)]

    async def send_all() -> None:
        for message in messages:
            await pair.peer.send(message)

    sending = asyncio.get_running_loop().create_task(send_all())
    await eventually(lambda: pair.plain.recv_messages.paused)
    assert [await pair.subject.recv() for _ in messages] == messages
    await sending
    assert pair.heard(*((pair.into, message.encode()) for message in messages))


# -- iteration -------------------------------------------------------------------------------


async def test_iteration_ends_with_a_normal_close(pair: Pair) -> None:
    await pair.peer.send("a")
    await pair.peer.send(b"b")
    await pair.peer.close()
    assert [message async for message in pair.subject] == ["a", b"b"]
    assert pair.heard((pair.into, b"a"), (pair.into, b"b"))


@pytest.mark.parametrize("how", ["code", "lost"])
async def test_iteration_raises_after_an_abnormal_close(pair: Pair, how: str) -> None:
    await pair.peer.send("a")
    got = []
    if how == "code":
        await pair.peer.close(CloseCode.INTERNAL_ERROR)
    else:
        await asyncio.sleep(0)
        pair.peer.transport.abort()

    async def iterate() -> None:
        async for message in pair.subject:
            got.append(message)  # noqa: PERF401 - which would lose what came before the error

    with pytest.raises(ConnectionClosedError):
        await iterate()
    assert got == ["a"] or how == "lost"


# -- close, ping, pong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [((), 1000, ""), ((1001,), 1001, ""), ((CloseCode.INTERNAL_ERROR, "why"), 1011, "why")],
)
async def test_close_says_code_and_reason(
    pair: Pair, arguments: tuple[Any, ...], code: int, reason: str
) -> None:
    assert [pair.subject.close_code, pair.subject.close_reason] == [None, None]
    await pair.subject.close(*arguments)
    await pair.peer.wait_closed()
    assert (pair.peer.close_code, pair.peer.close_reason) == (code, reason)
    assert (pair.subject.close_code, pair.subject.close_reason) == (code, reason)
    assert pair.subject.state is State.CLOSED
    await pair.subject.close()  # a second time does nothing


async def test_wait_closed_waits(pair: Pair) -> None:
    waiting = asyncio.get_running_loop().create_task(pair.subject.wait_closed())
    await asyncio.sleep(0)
    assert not waiting.done()
    await pair.peer.close()
    await waiting


async def test_ping_and_pong(pair: Pair) -> None:
    latency = await (await pair.subject.ping("hello"))
    assert latency == pair.subject.latency > 0
    pong = await pair.subject.ping()
    await pair.subject.pong("unsolicited")
    assert await pong > 0
    assert pair.heard()


async def test_two_pings_with_the_same_payload(pair: Pair) -> None:
    pair.peer.transport.pause_reading()
    waiter = await pair.subject.ping("same")
    with pytest.raises(ConcurrencyError, match="already waiting for a pong"):
        await pair.subject.ping("same")
    pair.peer.transport.resume_reading()
    await waiter


async def test_a_ping_fails_with_the_connection(pair: Pair) -> None:
    pair.peer.transport.pause_reading()
    waiter = await pair.subject.ping()
    pair.peer.transport.abort()
    with pytest.raises(ConnectionClosed):
        await waiter


async def test_ping_takes_no_other_types(pair: Pair) -> None:
    with pytest.raises(TypeError):
        await pair.subject.ping(17)


# -- context managers, properties, attributes ------------------------------------------------


async def test_the_context_manager_closes(pair: Pair) -> None:
    async with pair.subject as entered:
        assert entered is pair.subject
    assert pair.subject.close_code == 1000


async def test_the_context_manager_closes_after_an_error(pair: Pair) -> None:
    with pytest.raises(ZeroDivisionError):
        async with pair.subject:
            raise ZeroDivisionError
    assert pair.subject.close_code == 1011


@options(subprotocols=["chat"])
async def test_properties_are_those_of_the_connection(pair: Pair) -> None:
    subject, plain = pair.subject, pair.plain
    for name in ("id", "local_address", "remote_address", "state", "subprotocol", "request",
                 "response", "latency", "logger", "protocol", "transport", "path"):  # fmt: skip
        assert getattr(subject, name, None) == getattr(plain, name, None), name
    assert subject.subprotocol == "chat"
    assert subject.state is State.OPEN
    assert subject.request.path == "/path?q=1"
    assert str(subject) == str(plain)
    with pytest.raises(AttributeError):
        _ = subject.no_such_thing


async def test_it_passes_for_the_connection(pair: Pair) -> None:
    kind = ClientConnection if pair.role == "client" else ServerConnection
    assert isinstance(pair.subject, kind)
    assert pair.subject == pair.plain
    assert pair.subject in {pair.plain}


async def test_attributes_of_the_program_are_kept_on_the_connection(pair: Pair) -> None:
    pair.subject.user = "anna"
    assert pair.plain.user == "anna"
    del pair.subject.user
    assert not hasattr(pair.plain, "user")


async def test_talk_both_ways_at_once(pair: Pair) -> None:
    numbers = [str(number) for number in range(300)]

    async def talk(connection: Any) -> list[Any]:
        async def say() -> None:
            for number in numbers:
                await connection.send(number)

        saying = asyncio.get_running_loop().create_task(say())
        heard = [await connection.recv() for _ in numbers]
        await saying
        return heard

    heard = await asyncio.gather(talk(pair.subject), talk(pair.peer))
    assert list(heard) == [numbers, numbers]
    if pair.wrapped:
        for mark in (">>", "<<"):
            assert [p.decode() for m, p in pair.ear.heard if m == mark] == numbers
