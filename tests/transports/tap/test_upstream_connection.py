"""Connections of our own: the opening handshake, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.frames import Opcode
from websockets.utils import accept_key

from debbie_otel.errors import ChannelError
from debbie_otel.transports.tap.dialer import Dialer
from debbie_otel.transports.tap.upstream_connection import UpstreamConnection
from debbie_otel.wire.handshake import Handshake
from tests.transports.raw import TIMEOUT, Peer, accept, frame, listen_socket, until, upstream_of

HEADERS = (
    (b"Host", b"agent.example"),
    (b"upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Cookie", b"a=1"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
    (b"Cookie", b"b=2"),
    (b"Sec-WebSocket-Version", b"13"),
)
HANDSHAKE = Handshake(
    target=b"/ws?a=%20b",
    request_headers=HEADERS,
    response_headers=(),
    subprotocol=None,
    client_deflate=None,
    server_deflate=None,
)
_KEY = re.compile(rb"Sec-WebSocket-Key: (\S+)\r\n")


def accepted(head: bytes) -> bytes:
    key = _KEY.search(head)
    assert key is not None
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key[1].decode()).encode() + b"\r\n\r\n"
    )


@contextlib.asynccontextmanager
async def opening(
    answer: Callable[[bytes], bytes], patience: float = TIMEOUT
) -> AsyncIterator[tuple[asyncio.Task[UpstreamConnection], Peer, bytes]]:
    """Begin to open a connection to a raw server; yield it, the server's side and the request."""
    with contextlib.closing(listen_socket()) as listener:
        dialer = Dialer(upstream_of(listener), None, patience)
        opened = asyncio.get_running_loop().create_task(
            UpstreamConnection.open(dialer, HANDSHAKE, 1000)
        )
        with contextlib.closing(await accept(listener)) as server:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await server.receive()
            await server.send(answer(head))
            yield opened, server, head
        await asyncio.gather(opened, return_exceptions=True)
        await dialer.close()


async def test_the_clients_own_words_with_a_fresh_key() -> None:
    async with opening(accepted) as (opened, _, head):
        await asyncio.wait_for(opened, TIMEOUT)
        key = _KEY.search(head)
        assert key is not None
        assert key[1] != b"dGhlIHNhbXBsZSBub25jZQ=="
        assert head == (
            b"GET /ws?a=%20b HTTP/1.1\r\nHost: agent.example\r\nupgrade: websocket\r\n"
            b"Connection: Upgrade\r\nCookie: a=1\r\nSec-WebSocket-Key: " + key[1] + b"\r\n"
            b"Cookie: b=2\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )


def _other_key(head: bytes) -> bytes:
    return accepted(b"Sec-WebSocket-Key: other\r\n")


def _extension(head: bytes) -> bytes:
    return accepted(head)[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "answered 403 Forbidden",
        ),
        (_other_key, "another handshake than ours"),
        (_extension, "extension that was not offered"),
        (lambda _: b"SSH-2.0-OpenSSH\r\n\r\n", "cannot be read"),
    ],
)
async def test_an_answer_that_is_none(answer: Callable[[bytes], bytes], why: str) -> None:
    async with opening(answer) as (opened, _, _):
        with pytest.raises(ChannelError, match=why):
            await asyncio.wait_for(opened, TIMEOUT)


@contextlib.asynccontextmanager
async def answered_in_pieces(pieces: Callable[[bytes], list[bytes]]) -> AsyncIterator[Any]:
    """Begin to open a connection to a server whose answer is read piece by piece."""
    with contextlib.closing(listen_socket()) as listener:
        dialer = Dialer(upstream_of(listener), None, TIMEOUT)
        opened = asyncio.get_running_loop().create_task(
            UpstreamConnection.open(dialer, HANDSHAKE, 1000)
        )
        with contextlib.closing(await accept(listener)) as server:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await server.receive()
            (own,) = dialer.own
            assert isinstance(own, UpstreamConnection)
            for piece in pieces(head):
                own.data_received(piece)
            yield opened
        await asyncio.gather(opened, return_exceptions=True)
        await dialer.close()


INFORMED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 3, 40, 10_000])
async def test_informational_responses_come_before_the_answer(size: int) -> None:
    def pieces(head: bytes) -> list[bytes]:
        answer = INFORMED + accepted(head)
        return [answer[at : at + size] for at in range(0, len(answer), size)]

    async with answered_in_pieces(pieces) as opened:
        await asyncio.wait_for(opened, TIMEOUT)


@pytest.mark.parametrize("first", [b"", INFORMED])
@pytest.mark.parametrize("size", [1, 3, 40, 10_000])
async def test_a_refusal_is_read_however_it_is_cut(first: bytes, size: int) -> None:
    def pieces(_: bytes) -> list[bytes]:
        answer = first + b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
        return [answer[at : at + size] for at in range(0, len(answer), size)]

    async with answered_in_pieces(pieces) as opened:
        with pytest.raises(ChannelError, match="answered 401 Unauthorized"):
            await asyncio.wait_for(opened, TIMEOUT)


async def test_no_answer_at_all() -> None:
    async with opening(lambda _: b"HTTP/1.1 101", patience=0.05) as (opened, _, _):
        with pytest.raises(ChannelError, match="no answer in"):
            await asyncio.wait_for(opened, TIMEOUT)


async def test_nobody_is_there() -> None:
    with contextlib.closing(listen_socket()) as listener:
        dialer = Dialer(upstream_of(listener), None, TIMEOUT)
    with pytest.raises(ChannelError, match="cannot be reached"):
        await UpstreamConnection.open(dialer, HANDSHAKE, 1000)


async def test_frames_behind_the_answer_and_a_ping() -> None:
    first = frame(b"first", mask=False)
    heard: list[bytes] = []
    async with opening(accepted) as (opened, server, _):
        own = await asyncio.wait_for(opened, TIMEOUT)
        own.on_message = heard.append
        await server.send(first + frame(b"are you there", Opcode.PING, mask=False))
        pong = await server.receive()
        assert pong[0] == 0x80 | Opcode.PONG
        assert heard == [b"first"]


async def test_a_server_that_closes_is_answered() -> None:
    ends: list[str] = []
    async with opening(accepted) as (opened, server, _):
        own = await asyncio.wait_for(opened, TIMEOUT)
        own.on_end = ends.append
        await server.send(frame(b"\x0f\xa0enough", Opcode.CLOSE, mask=False))
        assert (await server.receive_until_end())[0] == 0x80 | Opcode.CLOSE
        await until(lambda: own.transport is None)
        assert ends == ["the server has closed the connection: 4000 enough"]
        with pytest.raises(ChannelError, match="4000 enough"):
            own.send(b"too late")


async def test_a_server_that_does_not_say_goodbye_is_not_waited_for() -> None:
    async with opening(accepted) as (opened, server, _):
        own = await asyncio.wait_for(opened, TIMEOUT)
        await asyncio.wait_for(own.close(), TIMEOUT)
        assert own.transport is None
        assert (await server.receive())[0] == 0x80 | Opcode.CLOSE
        await own.close()  # once is enough
