"""How connections begin: unreachable upstreams, time limits, connection counts, early bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import pytest

from debbie_otel.transports.addresses import parse_listen, parse_upstream
from debbie_otel.transports.tap.listener import Tap, TapOptions
from tests.transports.raw import (
    REQUEST,
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


def closed_port() -> int:
    with contextlib.closing(listen_socket()) as sock:
        return int(sock.getsockname()[1])


async def test_unreachable_upstream_is_a_502_in_one_line_and_the_proxy_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"ws://127.0.0.1:{closed_port()}/ws"
    watcher = Watcher()
    async with Tap(parse_listen("127.0.0.1:0"), parse_upstream(url), watcher, strict=True) as tap:
        for _ in range(2):
            with contextlib.closing(await connect(tap)) as client:
                for byte in (REQUEST[:30], REQUEST[30:]):
                    await client.send(byte)
                head, _, body = (await client.receive_until_end()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
            assert f"Content-Length: {len(body)}".encode() in head
            line = f"upstream {url} cannot be reached: "
            assert body.decode().startswith(line)
            assert body.count(b"\n") == 1
            assert body.endswith(b"\n")
            error = await watcher.wait_closed()
            assert error is not None
            assert error.startswith(line)
        assert tap.counters.upstream_failures == 2
        assert len([r for r in caplog.records if line in r.getMessage()]) == 2


async def test_an_upstream_that_does_not_answer_in_time_is_a_502() -> None:
    # A listener whose backlog is full leaves a connection attempt without an answer.
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        tap = Tap(
            parse_listen("127.0.0.1:0"),
            upstream_of(full),
            Watcher(),
            options=TapOptions(connect_timeout=0.1),
            strict=True,
        )
        async with tap:
            client = stack.enter_context(contextlib.closing(await connect(tap)))
            await client.send(REQUEST)
            assert b"no answer in 0.1 s" in await client.receive_until_end()


async def test_a_client_without_a_complete_head_is_closed_but_never_an_upgraded_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with rig(options=TapOptions(head_timeout=0.1)) as it:
        await it.passes(REQUEST[:-2])
        assert await it.client.receive_until_end() == b""
        assert await it.watcher.wait_closed() == "no complete request head within 0.1 s"
    async with rig(options=TapOptions(head_timeout=0.1)) as it:
        await it.upgrade()
        loop = asyncio.get_running_loop()
        late = loop.create_future()
        loop.call_later(0.3, late.set_result, None)  # well after the limit
        await late
        await it.passes(frame(b"still here"))


async def test_unreachable_upstream_and_a_client_that_never_asks() -> None:
    upstream = parse_upstream(f"ws://127.0.0.1:{closed_port()}")
    options = TapOptions(head_timeout=0.1)
    async with Tap(parse_listen(":0"), upstream, Watcher(), options=options, strict=True) as tap:
        with contextlib.closing(await connect(tap)) as client:
            assert (await client.receive_until_end()).startswith(b"HTTP/1.1 502 ")


async def test_connections_beyond_the_maximum_get_a_503() -> None:
    async with rig(options=TapOptions(max_connections=1)) as it:
        await it.upgrade()
        with contextlib.closing(await connect(it.tap)) as second:
            await second.send(REQUEST)
            answer = await second.receive_until_end()
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert answer.endswith(b"\r\n\r\nthe proxy has 1 connections open, its maximum\n")
        assert it.tap.counters.refused == 1
        await it.passes(frame(b"the first goes on"))
        it.client.close()
        it.server.close()
        await it.watcher.wait_closed()
        await it.connect()
        await it.passes(REQUEST)


async def test_early_bytes_are_kept_for_the_upstream_but_not_without_limit() -> None:
    """A client that sends a lot before the upstream has accepted loses nothing."""
    data = REQUEST + frame(bytes(range(256)) * 20_000)
    with contextlib.closing(listen_socket()) as listener:
        tap = Tap(parse_listen("127.0.0.1:0"), upstream_of(listener), Watcher(), strict=True)
        released = connects_when_released(tap)
        async with tap:
            with contextlib.closing(await connect(tap)) as client:
                sending = asyncio.get_running_loop().create_task(client.send(data))
                await until(lambda: bool(tap._connections))
                [connection] = tap._connections
                transport = connection.client.transport
                assert transport is not None
                await until(lambda: not transport.is_reading())
                assert 64 * 1024 <= len(connection._held) <= 64 * 1024 + 256 * 1024
                released.set()
                with contextlib.closing(await accept(listener)) as server:
                    assert await server.receive_exactly(len(data)) == data
                    await sending


async def test_a_client_that_leaves_while_the_upstream_is_being_connected() -> None:
    with contextlib.closing(listen_socket()) as listener:
        watcher = Watcher()
        tap = Tap(parse_listen(":0"), upstream_of(listener), watcher, strict=True)
        connecting = asyncio.Event()

        async def never(factory: object) -> None:
            connecting.set()
            await asyncio.Event().wait()

        tap.dialer.connect = never  # type: ignore[method-assign]
        async with tap:
            client = await connect(tap)
            await connecting.wait()
            client.reset()
            error = await watcher.wait_closed()
            assert error is not None
            assert error.startswith("client: ")
            assert tap.active == 0
            await until(lambda: len(tap._tasks) == 0)


async def test_clients_that_are_refused_are_bounded_too() -> None:
    async with rig(options=TapOptions(max_connections=1)) as it:
        with contextlib.closing(await connect(it.tap)) as silent:
            await until(lambda: len(it.tap._refused) == 1)
            third = await connect(it.tap)
            with contextlib.closing(third), contextlib.suppress(ConnectionResetError):
                assert await third.receive() == b""
            await silent.send(REQUEST)
            assert (await silent.receive_until_end()).startswith(b"HTTP/1.1 503 ")
