"""TLS on either side, and Unix-domain sockets on either side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from debbie_otel.transports.addresses import parse_listen, parse_upstream
from debbie_otel.transports.tap.listener import Tap
from tests.transports.raw import (
    REQUEST,
    RESPONSE,
    Peer,
    Watcher,
    accept,
    connect,
    frame,
    listen_socket,
    tls_contexts,
    upstream_of,
)

PEM = str(Path(__file__).with_name("localhost.pem"))

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def tls_server() -> AsyncIterator[tuple[int, asyncio.Queue[Streams]]]:
    """Accept TLS; yield the port and a queue of what was accepted."""
    accepted: asyncio.Queue[Streams] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait((reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls_contexts(PEM)[0])
    async with server:
        yield server.sockets[0].getsockname()[1], accepted


async def test_tls_on_both_sides_passes_every_byte_and_the_end() -> None:
    server_tls, client_tls = tls_contexts(PEM)
    data = frame(bytes(range(256)) * 4000)
    watcher = Watcher()
    async with tls_server() as (port, accepted), asyncio.timeout(10):
        upstream = parse_upstream(f"wss://localhost:{port}/ws")
        tap = Tap(
            parse_listen("127.0.0.1:0"),
            upstream,
            watcher,
            listen_tls=server_tls,
            upstream_tls=client_tls,
            strict=True,
        )
        async with tap:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", tap.addresses[0].port, ssl=client_tls, server_hostname="localhost"
            )
            writer.write(REQUEST)
            up_reader, up_writer = await accepted.get()
            # With host_header="auto", a wss upstream that is addressed by name is named in Host.
            wanted = REQUEST.replace(b"agent.example:1234", b"localhost:%d" % port)
            assert await up_reader.readexactly(len(wanted)) == wanted
            up_writer.write(RESPONSE + data)
            assert await reader.readexactly(len(RESPONSE + data)) == RESPONSE + data
            writer.write(data)
            assert await up_reader.readexactly(len(data)) == data
            up_writer.close()
            assert await reader.read() == b""
            writer.close()
            assert await watcher.wait_closed() is None


async def test_an_upstream_certificate_that_cannot_be_verified_is_a_502() -> None:
    async with tls_server() as (port, _):
        upstream = parse_upstream(f"wss://localhost:{port}")
        async with Tap(parse_listen(":0"), upstream, Watcher(), strict=True) as tap:
            with contextlib.closing(await connect(tap)) as client:
                await client.send(REQUEST)
                answer = await client.receive_until_end()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"certificate verify failed" in answer


async def test_a_failed_tls_handshake_of_a_client_leaves_nothing_behind() -> None:
    with contextlib.closing(listen_socket()) as listener:
        tap = Tap(
            parse_listen(":0"),
            upstream_of(listener),
            Watcher(),
            listen_tls=tls_contexts(PEM)[0],
            strict=True,
        )
        async with tap:
            with contextlib.closing(await connect(tap)) as client:
                await client.send(REQUEST)
                with contextlib.suppress(ConnectionResetError):
                    await client.receive_until_end()
            assert tap.active == 0
            assert tap.counters.accepted == 0


async def test_unix_domain_sockets_on_both_sides(tmp_path: Path) -> None:
    listen, upstream = tmp_path / "listen.sock", tmp_path / "upstream.sock"
    watcher = Watcher()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(upstream))
        listener.listen()
        listener.setblocking(False)
        tap = Tap(
            parse_listen(f"unix:{listen}"),
            parse_upstream(f"ws+unix:{upstream}:/ws?x=1"),
            watcher,
            strict=True,
        )
        async with tap:
            assert [str(a) for a in tap.addresses] == [f"unix:{listen}"]
            raw = stack.enter_context(socket.socket(socket.AF_UNIX))
            raw.connect(str(listen))
            client = Peer(raw)
            await client.send(REQUEST.replace(b"/ws?a=1&b=%2F%20x", b"/"))
            server = stack.enter_context(contextlib.closing(await accept(listener)))
            wanted = REQUEST.replace(b"/ws?a=1&b=%2F%20x", b"/ws?x=1")
            assert await server.receive_exactly(len(wanted)) == wanted
            await server.send(RESPONSE)
            assert await client.receive_exactly(len(RESPONSE)) == RESPONSE
            client.half_close()
            assert await server.receive_until_end() == b""
            server.close()
            assert await client.receive_until_end() == b""
            assert await watcher.wait_closed() is None
        assert not listen.exists()


def test_the_contexts_of_the_tests_verify() -> None:
    assert tls_contexts(PEM)[1].verify_mode is ssl.CERT_REQUIRED
