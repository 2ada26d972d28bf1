"""The end of the proxy in this process: what comes in the very moment of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from tests.integration.proxied import config, proxied, raw_upstream
from tests.transports.raw import REQUEST, Peer


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_comes_with_the_end_is_closed(
    turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`turns` of the event loop lie between the client's connect and the end."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with (
        raw_upstream() as (_, url),
        proxied(config(url, tmp_path)) as it,
    ):
        address = it.tap.addresses[0]
        with contextlib.closing(socket.socket()) as sock:
            sock.connect((address.host, address.port))
            sock.sendall(REQUEST)
            for _ in range(turns):
                await asyncio.sleep(0)
            await it.tap.stop()
            with contextlib.suppress(ConnectionError):
                assert await Peer(sock).receive_until_end() == b""
        assert it.tap.active == 0
        assert it.debbie.monitor.connections == []
