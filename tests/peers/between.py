"""A real peer's server, Debbie before it, and a recorder of raw bytes on either side of her.

client -> `ByteRecorder` -> the proxy -> `ByteRecorder` -> server
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from debbie_otel.app.debugger import DebbieDebugger
from tests.integration.proxied import config, proxied
from tests.integration.received import Metrics, Spans
from tests.telemetry.collector import grpc_collector
from tests.transports.raw import TIMEOUT, until

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
Place = int | Path
"""A TCP port of this machine, or a Unix socket."""


class ByteRecorder:
    """Forwards to a port or a Unix socket of this machine, and keeps all that goes through.

    Nothing of debbie_otel is in it, so that what it kept can testify for the proxy.

    Attributes:
        port: Where it listens; 0 on a Unix socket.
        kept: What went (up, down), a pair for every connection.

    """

    def __init__(self, target: Place) -> None:
        self.port = 0
        self.kept: list[tuple[bytearray, bytearray]] = []
        self._target = target
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, at: Place = 0) -> AsyncIterator[Self]:
        """Forward; the end waits until the peers have closed all connections."""
        if isinstance(at, Path):
            server = await asyncio.start_unix_server(self._accept, at)
        else:
            server = await asyncio.start_server(self._accept, "127.0.0.1", at)
            self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        except BaseException:
            for task in self._open:
                task.cancel()
            raise
        finally:
            server.close()
            async with asyncio.timeout(TIMEOUT):
                await asyncio.gather(*self._open, return_exceptions=True)
                await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        kept = bytearray(), bytearray()
        self.kept.append(kept)
        try:
            far_reader, far_writer = await _open(self._target)
            try:
                await asyncio.gather(
                    _pump(reader, far_writer, kept[0]), _pump(far_reader, writer, kept[1])
                )
            finally:
                await _close(far_writer)
        finally:
            await _close(writer)
            self._open.discard(task)


async def _open(target: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(target)
    return await asyncio.open_connection("127.0.0.1", target)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    with contextlib.suppress(OSError):  # of the peers; what came until then is kept
        while data := await reader.read(2**16):
            kept += data
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, *, lifespan: bool = False, at: Path | None = None
) -> AsyncIterator[int]:
    """Run an ASGI application on a TCP port or a Unix socket; yield the port, or 0."""
    import uvicorn  # one of the peers: not there without them

    settings = uvicorn.Config(
        app,
        lifespan="on" if lifespan else "off",
        ws="websockets-sansio",
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(settings)
    with contextlib.closing(_listener(at)) as listener:
        running = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started or running.done())
            yield 0 if at is not None else listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


def _listener(at: Path | None) -> socket.socket:
    if at is None:
        return socket.create_server(("127.0.0.1", 0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(at))
    listener.listen()
    return listener


@dataclass
class Watched:
    """What a client connects to; afterwards, what was seen of it.

    Attributes:
        port: Where the client connects.
        before: Bytes between client and proxy, (up, down) for every connection.
        behind: Bytes between proxy and server likewise.
        spans: What a collector received, once all has ended.
        metrics: Likewise.
        debbie: She herself.

    """

    port: int
    debbie: DebbieDebugger
    before: list[tuple[bytearray, bytearray]]
    behind: list[tuple[bytearray, bytearray]]
    spans: Spans
    metrics: Metrics


@contextlib.asynccontextmanager
async def watched(server: Place, data_dir: Path, **sections: Any) -> AsyncIterator[Watched]:
    """Put Debbie before the server, with a real collector behind her."""
    with grpc_collector() as collector:
        otlp = f"grpc://127.0.0.1:{collector.port}"
        async with (
            ByteRecorder(server).listening() as behind,
            proxied(config(f"ws://127.0.0.1:{behind.port}", data_dir, otlp, **sections)) as it,
            ByteRecorder(it.tap.addresses[0].port).listening() as before,
        ):
            watch = Watched(
                before.port, it.debbie, before.kept, behind.kept, Spans([]), Metrics([])
            )
            yield watch
        assert it.tap.counters.inspection_errors == 0
        watch.spans = Spans(collector.received.traces)
        watch.metrics = Metrics(collector.received.metrics)
