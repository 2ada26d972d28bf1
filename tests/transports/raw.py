"""Raw sockets for tests that compare bytes: nothing here knows WebSocket's rules."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from websockets.frames import Frame, Opcode

from debbie_otel.transports.addresses import Upstream, parse_listen, parse_upstream
from debbie_otel.transports.tap.listener import Tap
from debbie_otel.transports.tap.opening import ClientConnection
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.observer import WireEvent, WireObserver

UP = MessageDirection.CLIENT_TO_SERVER
DOWN = MessageDirection.SERVER_TO_CLIENT
TIMEOUT = 10.0
"""Seconds that anything may take before the test fails."""

REQUEST = (
    b"GET /ws?a=1&b=%2F%20x HTTP/1.1\r\nHost: agent.example:1234\r\nUpgrade: websocket\r\n"
    b"connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Peer:
    """One raw socket; every operation fails after `TIMEOUT` seconds."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), TIMEOUT)

    async def receive(self, limit: int = 2**18) -> bytes:
        return await asyncio.wait_for(
            asyncio.get_running_loop().sock_recv(self.sock, limit), TIMEOUT
        )

    async def receive_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = await self.receive(min(2**18, size - len(data)))
            assert piece, f"the end came after {len(data)} of {size} bytes"
            data += piece
        return bytes(data)

    async def receive_until_end(self) -> bytes:
        data = bytearray()
        while piece := await self.receive():
            data += piece
        return bytes(data)

    async def receive_until_reset(self) -> bytes:
        data = bytearray()
        try:
            while piece := await self.receive():
                data += piece
        except ConnectionResetError:
            return bytes(data)
        raise AssertionError("a normal end where a reset was expected")

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class Watcher:
    """A `ByteObserver` that keeps what it is shown, and inspects it as well."""

    def __init__(self) -> None:
        self.peer = ""
        self.bytes = {UP: bytearray(), DOWN: bytearray()}
        self.keep_bytes = True
        self.errors: list[str | None] = []
        self.events: list[WireEvent] = []
        self.wire = WireObserver()
        self.has_closed = asyncio.Event()

    def __call__(self, connection: ClientConnection) -> Watcher:
        """Be the factory as well as the observer, for the one connection of a test."""
        self.peer = connection.peer
        return self

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        if self.keep_bytes:
            self.bytes[direction] += data
        self.events += self.wire.receive_data(direction, data)

    def cannot_follow(self, reason: str) -> None:
        raise AssertionError(reason)

    def closed(self, error: str | None) -> None:
        self.errors.append(error)
        self.has_closed.set()

    async def wait_closed(self) -> str | None:
        await asyncio.wait_for(self.has_closed.wait(), TIMEOUT)
        return self.errors[0]


class Rig:
    """A tap with a raw client before it and a raw server behind it."""

    def __init__(self, tap: Tap, listener: socket.socket, watcher: Watcher) -> None:
        self.tap = tap
        self.listener = listener
        self.watcher = watcher
        self.client: Peer
        self.server: Peer

    async def connect(self) -> None:
        self.client = await connect(self.tap)
        self.server = await accept(self.listener)

    async def passes(self, data: bytes, direction: MessageDirection = UP) -> None:
        """Check that bytes sent at one end come out unchanged at the other."""
        source, sink = (self.client, self.server) if direction is UP else (self.server, self.client)
        sending = asyncio.ensure_future(source.send(data))  # noqa: TID251 - awaited below
        received = await sink.receive_exactly(len(data))
        await sending
        assert received == data

    async def upgrade(self, request: bytes = REQUEST, response: bytes = RESPONSE) -> None:
        await self.passes(request, UP)
        await self.passes(response, DOWN)


def listen_socket() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def upstream_of(listener: socket.socket, path: str = "") -> Upstream:
    return parse_upstream(f"ws://127.0.0.1:{listener.getsockname()[1]}{path}")


async def accept(listener: socket.socket) -> Peer:
    loop = asyncio.get_running_loop()
    sock, _ = await asyncio.wait_for(loop.sock_accept(listener), TIMEOUT)
    return Peer(sock)


async def connect(tap: Tap) -> Peer:
    address = tap.addresses[0]
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address.host, address.port))
    return Peer(sock)


@contextlib.asynccontextmanager
async def rig(path: str = "", **options: Any) -> AsyncIterator[Rig]:
    """Run a tap with one client through it, connected to one server; close all in the end."""
    with contextlib.closing(listen_socket()) as listener:
        watcher = Watcher()
        tap = Tap(
            parse_listen("127.0.0.1:0"),
            upstream_of(listener, path),
            options.pop("observer_factory", watcher),
            strict=True,
            **options,
        )
        async with tap:
            it = Rig(tap, listener, watcher)
            await it.connect()
            try:
                yield it
            finally:
                it.client.close()
                it.server.close()


def frame(
    payload: bytes,
    opcode: Opcode = Opcode.TEXT,
    *,
    mask: bool = True,
    fin: bool = True,
    rsv1: bool = False,
) -> bytes:
    """Serialize one frame; websockets refuses to write some of those that tests need."""
    data = bytearray(Frame(Opcode.BINARY, payload).serialize(mask=mask))
    data[0] = (fin << 7) | (rsv1 << 6) | opcode
    return bytes(data)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


def connects_when_released(tap: Tap) -> asyncio.Event:
    """Have a tap wait for the event before it connects to its upstream."""
    released, connecting = asyncio.Event(), tap.dialer.connect

    async def connect_later(factory: Callable[[], asyncio.Protocol]) -> None:
        await released.wait()
        await connecting(factory)

    tap.dialer.connect = connect_later  # type: ignore[method-assign]
    return released


def every_cut(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the two parts of `data` for every byte boundary in it."""
    for index in range(1, len(data)):
        yield data[:index], data[index:]


def tls_contexts(pem: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's context for a certificate that signed itself."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=pem)
