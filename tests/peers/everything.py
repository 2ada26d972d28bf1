"""The reference MCP server of the TypeScript SDK, which speaks on its standard streams, by WebSocket.

npm brings it (`make peers`). Each connection has a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

VERSION = "2026.8.31"
_LINE = 1 << 24
"""Bytes that a message may have."""


def everything_program() -> str | None:
    """Return where the server is: what `make peers` installed."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(cache, "debbie-peers", f"everything-{VERSION}", "node_modules", ".bin")
    return shutil.which(str(folder / "mcp-server-everything"))


@contextlib.asynccontextmanager
async def everything_server() -> AsyncIterator[int]:
    """Serve it on a port of this machine; yield the port."""
    program = everything_program()
    assert program is not None

    async def bridge(connection: ServerConnection) -> None:
        process = await asyncio.create_subprocess_exec(
            program, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=_LINE
        )
        down = asyncio.get_running_loop().create_task(_down(process, connection))
        try:
            assert process.stdin is not None
            async for message in connection:
                assert isinstance(message, str)
                process.stdin.write(message.encode() + b"\n")
                await process.stdin.drain()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await down

    protocols = [Subprotocol("mcp")]
    async with serve(bridge, "127.0.0.1", 0, subprotocols=protocols, max_size=_LINE) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def _down(process: Process, connection: ServerConnection) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        await connection.send(line.decode().rstrip("\n"))
