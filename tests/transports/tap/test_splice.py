"""How connections end: half-closes, resets and stops travel as what they were."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from debbie_otel.transports.addresses import parse_listen
from debbie_otel.transports.tap.listener import Tap
from debbie_otel.transports.tap.opening import ClientConnection
from tests.transports.raw import (
    DOWN,
    REQUEST,
    RESPONSE,
    UP,
    Watcher,
    accept,
    connect,
    connects_when_released,
    frame,
    listen_socket,
    rig,
    until,
    upstream_of,
)


async def test_half_close_by_the_client_leaves_the_other_direction_open() -> None:
    async with rig() as it:
        await it.upgrade()
        await it.client.send(frame(b"last"))
        it.client.half_close()
        assert await it.server.receive_until_end() == frame_like(b"last", it.watcher.bytes[UP])
        for number in range(10):
            await it.passes(frame(b"answer %d" % number, mask=False), DOWN)
        it.server.close()
        assert await it.client.receive_until_end() == b""
        assert await it.watcher.wait_closed() is None


async def test_half_close_by_the_server_leaves_the_other_direction_open() -> None:
    async with rig() as it:
        await it.upgrade()
        it.server.half_close()
        assert await it.client.receive_until_end() == b""
        for number in range(10):
            await it.passes(frame(b"more %d" % number))
        it.client.close()
        assert await it.server.receive_until_end() == b""
        assert await it.watcher.wait_closed() is None


@pytest.mark.parametrize("path", ["", "/ws"])  # with /ws, the incomplete head is held back
async def test_half_close_before_the_upstream_is_connected(path: str) -> None:
    with contextlib.closing(listen_socket()) as listener:
        tap = Tap(parse_listen(":0"), upstream_of(listener, path), Watcher(), strict=True)
        released = connects_when_released(tap)
        async with tap:
            with contextlib.closing(await connect(tap)) as client:
                await client.send(b"GET / HTT")
                client.half_close()
                await until(lambda: any(c.upward.ended for c in tap._connections))
                released.set()
                with contextlib.closing(await accept(listener)) as server:
                    assert await server.receive_until_end() == b"GET / HTT"
                    await server.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    server.half_close()
                    assert await client.receive_until_end() == b"HTTP/1.1 400 Bad Request\r\n\r\n"


async def test_half_close_in_the_middle_of_a_head_that_is_held_back() -> None:
    async with rig("/ws") as it:
        await it.client.send(REQUEST[:-1])
        it.client.half_close()
        assert await it.server.receive_until_end() == REQUEST[:-1]


async def test_reset_by_the_client_is_a_reset_at_the_server() -> None:
    async with rig() as it:
        await it.upgrade()
        await it.passes(frame(b"before"))
        it.client.reset()
        with pytest.raises(ConnectionResetError):
            await it.server.receive()
        error = await it.watcher.wait_closed()
        assert error is not None
        assert error.startswith("client: ")
        assert it.tap.active == 0


async def test_reset_by_the_server_is_a_reset_at_the_client() -> None:
    async with rig() as it:
        await it.upgrade()
        it.server.reset()
        with pytest.raises(ConnectionResetError):
            await it.client.receive()
        error = await it.watcher.wait_closed()
        assert error is not None
        assert error.startswith("upstream: ")


async def test_bytes_sent_before_a_reset_arrive() -> None:
    data = frame(b"x" * 300_000, mask=False)
    async with rig() as it:
        await it.upgrade()
        await it.server.send(data)
        assert await it.client.receive_exactly(1000) == data[:1000]
        # All of it has passed the tap's observer, so none is in the server's kernel any more.
        await until(lambda: len(it.watcher.bytes[DOWN]) == len(RESPONSE) + len(data))
        it.server.reset()
        assert await it.client.receive_exactly(len(data) - 1000) == data[1000:]
        with pytest.raises(ConnectionResetError):
            await it.client.receive()


@pytest.mark.parametrize("patient", [True, False])
async def test_a_reset_does_not_destroy_what_a_slow_reader_has_still_to_read(
    patient: bool,
) -> None:
    async with rig() as it:
        await it.upgrade()
        [connection] = it.tap._connections
        flood = asyncio.get_running_loop().create_task(it.server.send(bytes(range(256)) * 200_000))
        await until(lambda: not connection.client.writable)
        flood.cancel()
        it.server.reset()
        connection.upstream.resume_reading()  # or the reset would go unseen behind back-pressure
        await until(lambda: connection.upstream.transport is None)
        client = connection.client.transport
        assert client is not None
        if patient:  # the reset waits for all bytes to have arrived
            received = await it.client.receive_until_reset()
        else:  # but not for ever: then it is a normal end
            await until(client.is_closing)
            received = await it.client.receive_until_end()
        assert RESPONSE + received == it.watcher.bytes[DOWN]
        error = await it.watcher.wait_closed()
        assert error is not None
        assert error.startswith("upstream: ")


async def test_what_a_server_said_before_it_dropped_the_connection_arrives() -> None:
    """The tap's write fails, and yet what the server sent before can be read and passes."""
    async with rig() as it:
        await it.upgrade()
        [connection] = it.tap._connections
        connection.upstream.pause_reading()
        farewell = frame(b"\x03\xf0farewell", mask=False)
        await it.client.send(frame(b"unread"))
        await until(lambda: len(it.watcher.bytes[UP]) > len(REQUEST))
        await it.server.send(farewell)
        it.server.close()  # with bytes unread: the kernel sends a reset
        await it.client.send(frame(b"too late"))
        assert await it.client.receive_exactly(len(farewell)) == farewell
        assert await it.watcher.wait_closed() is not None


async def test_a_connection_that_has_ended_is_freed_at_once() -> None:
    gc.collect()
    gc.disable()  # reference counting alone must do
    try:
        async with rig() as it:
            await it.upgrade()
            [connection] = it.tap._connections
            reference: weakref.ref[ClientConnection] = weakref.ref(connection)
            del connection
            it.client.close()
            it.server.close()
            await it.watcher.wait_closed()
            # The event loop lets go of the transports in its next rounds.
            await until(lambda: reference() is None)
    finally:
        gc.enable()


async def test_stop_closes_what_is_open() -> None:
    async with rig() as it:
        await it.upgrade()
        await it.tap.stop()
        assert await it.client.receive_until_end() == b""
        assert await it.server.receive_until_end() == b""
        assert it.tap.active == 0
        assert it.tap.addresses == []
        assert await it.watcher.wait_closed() is None


async def test_stop_gives_slow_readers_the_grace_and_no_more() -> None:
    async with rig() as it:
        await it.upgrade()
        flood = asyncio.get_running_loop().create_task(it.server.send(bytes(50_000_000)))
        [connection] = it.tap._connections
        await until(lambda: not connection.client.writable)
        started = asyncio.get_running_loop().time()
        await it.tap.stop(grace=0.2)
        assert 0.2 <= asyncio.get_running_loop().time() - started < 2
        with pytest.raises(OSError, match=r"reset|pipe"):
            await flood


def frame_like(payload: bytes, seen: bytearray) -> bytes:
    """Return the frame as it was sent: its random mask is only known from the bytes."""
    sent = bytes(seen[len(REQUEST) :])
    assert len(sent) == len(frame(payload))
    return sent
