"""The sockets of both ends."""

from __future__ import annotations

import socket

from tests.transports.raw import (
    rig,
)


async def test_nagle_is_off_on_both_sides() -> None:
    async with rig() as it:
        await it.upgrade()
        [connection] = it.tap._connections
        for side in (connection.client, connection.upstream):
            assert side.transport is not None
            sock = side.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
