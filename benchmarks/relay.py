"""The relay that one writes with `websockets`: `python -m benchmarks.relay PORT UPSTREAM`.

`serve()` in front, `connect()` behind, all settings at their defaults, no telemetry.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Connection = ClientConnection | ServerConnection


async def _pump(source: Connection, target: Connection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in source:
            await target.send(message)
    await target.close()


async def relay(port: int, upstream: str) -> None:
    """Relay 127.0.0.1:`port` to the `upstream` URL until SIGTERM or SIGINT."""

    async def handler(client: ServerConnection) -> None:
        async with connect(upstream) as server:
            await asyncio.gather(_pump(client, server), _pump(server, client))

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(handler, "127.0.0.1", port):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), sys.argv[2]))
