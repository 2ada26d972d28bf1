"""Connects to the upstream: for a client, and for connections of our own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from debbie_otel.transports.addresses import Upstream


class Closable(Protocol):
    """A connection of our own."""

    async def close(self) -> None:
        """Close it, in bounded time."""


class Dialer:
    """Knows the way to one upstream.

    Args:
        upstream: Where it is.
        tls: Context for an upstream that speaks TLS; None for the default one.
        timeout: Seconds for it to accept (TCP and TLS).

    Attributes:
        own: Connections of our own that are open.

    """

    def __init__(self, upstream: Upstream, tls: ssl.SSLContext | None, timeout: float) -> None:
        self.upstream = upstream
        self.timeout = timeout
        self.own: set[Closable] = set()
        self._tls = tls
        if not upstream.tls:
            self._tls = None
        elif tls is None:
            self._tls = ssl.create_default_context()

    async def close(self) -> None:
        """Close the connections of our own."""
        await asyncio.gather(*(connection.close() for connection in self.own))

    async def connect(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Connect a protocol.

        Raises:
            TimeoutError: It takes too long.
            OSError: There is nothing, or it refuses; so ssl.CertificateError.

        """
        loop = asyncio.get_running_loop()
        address = self.upstream.address
        async with asyncio.timeout(self.timeout):
            if address.path is not None:
                await loop.create_unix_connection(factory, address.path, ssl=self._tls)
            else:
                await loop.create_connection(factory, address.host, address.port, ssl=self._tls)
