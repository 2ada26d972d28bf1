"""A direction stops reading while its reader is slow."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from tests.transports.raw import (
    DOWN,
    UP,
    rig,
    until,
)


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_flood_to_a_slow_reader_does_not_grow_memory(direction: str) -> None:
    piece = bytes(2**20)
    process = psutil.Process()
    async with rig() as it:
        it.watcher.keep_bytes = False
        await it.upgrade()
        head = b"\x82\x7f" + (200 * len(piece)).to_bytes(8, "big")
        source, sink = (it.client, it.server) if direction == UP else (it.server, it.client)
        [connection] = it.tap._connections
        side = connection.upstream if direction == UP else connection.client

        async def flood() -> None:
            await source.send(head)
            for _ in range(200):
                await source.send(piece)

        before = process.memory_info().rss
        flooding = asyncio.get_running_loop().create_task(flood())
        await until(lambda: not side.writable)
        left, peak = len(head) + 200 * len(piece), 0
        while left:
            left -= len(await sink.receive(2**18))
            assert side.transport is not None
            peak = max(peak, side.transport.get_write_buffer_size())
        await flooding
        assert peak <= (64 + 256) * 1024
        assert process.memory_info().rss - before < 20e6
