"""A DebbieDebugger with its tap, made from a config as `debbie proxy` makes it, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.telemetry.export.pipeline import ShutdownReport
from debbie_otel.transports.tap.listener import Tap
from debbie_otel.wire.direction import MessageDirection
from tests.servers import TranscriptClient, TranscriptServer
from tests.transports.raw import (
    DOWN,
    REQUEST,
    RESPONSE,
    UP,
    Peer,
    accept,
    connect,
    frame,
    listen_socket,
)


def config(upstream: str, data_dir: Path, otlp: str | None = None, **sections: Any) -> Config:
    """Return a config; `sections` are changes, such as `proxy={"max_message_size": 10}`."""
    base = Config()
    fields: dict[str, dict[str, Any]] = {
        "proxy": {"upstream": upstream, "listen": "127.0.0.1:0"},
        "telemetry": {"data_dir": data_dir, "otlp": otlp},
        "detection": {"enabled": False},  # alerts are spans too; tests/detection is about them
    }
    for name, changes in sections.items():
        fields[name] = fields.get(name, {}) | changes
    if "stall_threshold" in fields["detection"]:
        fields["detection"].setdefault("silence", None)  # as in a file
    return msgspec.structs.replace(
        base,
        **{k: msgspec.structs.replace(getattr(base, k), **v) for k, v in fields.items()},
    )


class Proxied:
    """A running proxy.

    Attributes:
        debbie: The debugger.
        tap: Its proxy, listening.
        report: What became of the spans, once it has ended.

    """

    def __init__(self, debbie: DebbieDebugger) -> None:
        self.debbie = debbie
        self.tap: Tap
        self.report: ShutdownReport | None = None

    def url(self, path: str = "/ws") -> str:
        return f"ws://{self.tap.addresses[0]}{path}"


@contextlib.asynccontextmanager
async def proxied(settings: Config, *, strict: bool = True) -> AsyncIterator[Proxied]:
    """Run a proxy, and end it as `debbie proxy` does: the tap first, then the telemetry."""
    debbie = DebbieDebugger(settings)
    debbie.guard.strict = strict
    it = Proxied(debbie)
    await debbie.start()
    try:
        it.tap = debbie.tap()
        async with it.tap:
            yield it
    finally:
        it.report = await debbie.stop()


class Wire:
    """A raw client and a raw server on a WebSocket through the proxy."""

    def __init__(self, client: Peer, server: Peer) -> None:
        self.client = client
        self.server = server

    async def passes(self, data: bytes, direction: MessageDirection = UP) -> None:
        """Check that bytes sent at one end come out unchanged at the other."""
        source, sink = (self.client, self.server) if direction is UP else (self.server, self.client)
        received, _ = await asyncio.gather(sink.receive_exactly(len(data)), source.send(data))
        assert received == data

    async def message(self, payload: bytes | str, direction: MessageDirection = UP) -> None:
        """Pass a text message, masked as its direction wants it."""
        data = payload.encode() if isinstance(payload, str) else payload
        await self.passes(frame(data, mask=direction is UP), direction)


@contextlib.asynccontextmanager
async def wire(it: Proxied, listener: socket.socket) -> AsyncIterator[Wire]:
    """Open a connection through the proxy to `listener`, and upgrade it."""
    client = await connect(it.tap)
    with contextlib.closing(client):
        server = await accept(listener)
        with contextlib.closing(server):
            opened = Wire(client, server)
            await opened.passes(REQUEST)
            await opened.passes(RESPONSE, DOWN)
            yield opened


@contextlib.asynccontextmanager
async def raw_upstream() -> AsyncIterator[tuple[socket.socket, str]]:
    """Listen; yield the socket and its URL."""
    with contextlib.closing(listen_socket()) as listener:
        yield listener, f"ws://127.0.0.1:{listener.getsockname()[1]}"


async def play(recording: Path, data_dir: Path, otlp: str, **sections: Any) -> Proxied:
    """Play a recording from both sides through a proxy; return it, ended."""
    async with (
        TranscriptServer(recording) as server,
        proxied(config(server.url, data_dir, otlp, **sections)) as it,
    ):
        await TranscriptClient(recording).play(it.url())
    return it
