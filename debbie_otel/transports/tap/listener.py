"""The proxy: listens, connects an upstream per client, and splices the two byte by byte.

Every byte leaves unchanged and in order (the Host header and the target `/` by the rules in
`debbie_otel.wire.request_head`); an observer per connection is shown a copy afterwards, and cannot
disturb the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from debbie_otel.errors import ConfigurationError
from debbie_otel.transports.addresses import Address, Upstream
from debbie_otel.transports.tap.dialer import Dialer
from debbie_otel.transports.tap.forwarding import ByteObserver
from debbie_otel.transports.tap.opening import ClientConnection
from debbie_otel.transports.tasks import TaskSet
from debbie_otel.wire.request_head import RequestRewriter

__all__ = ["ByteObserver", "HostHeader", "Tap", "TapCounters", "TapOptions"]

_log = logging.getLogger(__name__)

HostHeader = Literal["auto", "preserve", "upstream"]
_BACKLOG = 1024
_KEPT_FAILURES = 100


class TapOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the tap allows, and how it asks the upstream.

    Attributes:
        max_connections: Beyond it, clients get a 503.
        connect_timeout: Seconds for the upstream to accept (TCP and TLS).
        head_timeout: Seconds for a client to send the head of its first request; the same for
            its TLS handshake. After that nothing is timed.
        host_header: Whether Host is passed as sent; see `debbie_otel.wire.request_head`.

    """

    max_connections: int = 1024
    connect_timeout: float = 10.0
    head_timeout: float = 10.0
    host_header: HostHeader = "auto"


class TapCounters(msgspec.Struct):
    """What has happened since the start."""

    accepted: int = 0
    refused: int = 0
    upstream_failures: int = 0
    inspection_errors: int = 0


class Tap:
    """A transparent proxy before one upstream.

    Args:
        listen: Where to accept clients.
        upstream: The server.
        observer_factory: Called with every new connection.
        options: Numbers and times, and what becomes of Host.
        listen_tls: Accept TLS with this context; None for plain TCP.
        upstream_tls: Context for an upstream that speaks TLS; None for the default one.
        strict: For tests: `stop` raises what observers raised, as an ExceptionGroup.

    Attributes:
        counters: What has happened so far.
        dialer: The way to the upstream.

    """

    def __init__(
        self,
        listen: Address,
        upstream: Upstream,
        observer_factory: Callable[[ClientConnection], ByteObserver],
        *,
        options: TapOptions | None = None,
        listen_tls: ssl.SSLContext | None = None,
        upstream_tls: ssl.SSLContext | None = None,
        strict: bool = False,
    ) -> None:
        self.counters = TapCounters()
        self._listen = listen
        self._upstream = upstream
        self._observer_factory = observer_factory
        self._options = options or TapOptions()
        self.head_timeout = self._options.head_timeout
        self._listen_tls = listen_tls
        self.dialer = Dialer(upstream, upstream_tls, self._options.connect_timeout)
        host_header = self._options.host_header
        named = host_header == "upstream" or (
            host_header == "auto" and upstream.tls and upstream.named
        )
        self._authority = upstream.authority.encode() if named and upstream.authority else None
        self._root_target = upstream.target.encode() if upstream.target else None
        self._strict = strict
        self._failures: list[Exception] = []
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._connections: set[ClientConnection] = set()
        self._refused: set[ClientConnection] = set()
        self._all_ended = asyncio.Event()
        self._tasks = TaskSet()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with the ports that were really taken; empty if it does not."""
        if self._server is None:
            return []
        if self._listen.path is not None:
            return [self._listen]
        names = (sock.getsockname() for sock in self._server.sockets)
        return [Address(name[0], name[1]) for name in names]

    @property
    def active(self) -> int:
        """Connections that are open, refused ones not counted."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: The address cannot be listened on.

        """
        loop = asyncio.get_running_loop()
        self._stopping = False
        timeout = self._options.head_timeout if self._listen_tls is not None else None
        try:
            if self._listen.path is not None:
                self._server = await loop.create_unix_server(
                    self._client_side,
                    self._listen.path,
                    ssl=self._listen_tls,
                    ssl_handshake_timeout=timeout,
                    backlog=_BACKLOG,
                )
            else:
                self._server = await loop.create_server(
                    self._client_side,
                    self._listen.host,
                    self._listen.port,
                    ssl=self._listen_tls,
                    ssl_handshake_timeout=timeout,
                    backlog=_BACKLOG,
                )
        except OSError as error:
            raise ConfigurationError("--listen", f"{self._listen}: {_text(error)}") from error

    async def stop(self, grace: float = 2.0) -> None:
        """Stop accepting and close what is open.

        Args:
            grace: Seconds for what is still buffered to be read by the peers.

        Raises:
            ExceptionGroup: With `strict`, what observers raised.

        """
        self._stopping = True
        server, self._server = self._server, None
        if server is not None:
            await _stop_accepting(server)
        for connection in self._connections | self._refused:
            connection.client.close()
            connection.upstream.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._wait_all_ended()
        for connection in self._connections | self._refused:
            connection.client.abort()
            connection.upstream.abort()
        await self._tasks.cancel()
        await self._wait_all_ended()
        await self.dialer.close()
        if server is not None:
            await server.wait_closed()
            self._remove_socket_file()
        failures, self._failures = self._failures, []
        if failures:
            raise ExceptionGroup("observers failed", failures)

    def accepted(self, connection: ClientConnection) -> str | None:
        """Start connecting the upstream; or return why the connection is refused."""
        if self._stopping:  # it came with the end, and nobody would close it any more
            self._refused.add(connection)
            connection.client.abort()
            return "the proxy has ended"
        limit = self._options.max_connections
        if len(self._connections) >= limit:
            self.counters.refused += 1
            self._refused.add(connection)
            if len(self._refused) > limit:
                connection.client.abort()
            return f"the proxy has {limit} connections open, its maximum"
        self.counters.accepted += 1
        self._connections.add(connection)
        task = self._tasks.start(self._connect(connection), f"connect for {connection.peer}")
        connection.connect_with(task)
        return None

    def observer_for(self, connection: ClientConnection) -> ByteObserver | None:
        """Return a new observer, or None if it cannot be made."""
        try:
            return self._observer_factory(connection)
        except Exception as error:  # noqa: BLE001 - the connection goes on unobserved
            self.observer_failed(error)
            return None

    def observer_failed(self, error: Exception) -> None:
        """Count and log the failure of an observer."""
        self.counters.inspection_errors += 1
        _log.error("an observer failed and is dropped; the bytes go on: %r", error)
        if self._strict and len(self._failures) < _KEPT_FAILURES:
            self._failures.append(error)

    def ended(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._refused.discard(connection)
        if not self._connections and not self._refused:
            self._all_ended.set()

    def _client_side(self) -> asyncio.Protocol:
        rewriter = RequestRewriter(self._authority, self._root_target)
        return ClientConnection(self, rewriter).client

    async def _connect(self, connection: ClientConnection) -> None:
        try:
            await self.dialer.connect(lambda: connection.upstream)
        except TimeoutError:
            self._unreachable(connection, f"no answer in {self._options.connect_timeout:g} s")
        except (OSError, ssl.CertificateError) as error:
            self._unreachable(connection, _text(error))

    def _unreachable(self, connection: ClientConnection, why: str) -> None:
        self.counters.upstream_failures += 1
        connection.upstream_failed(f"upstream {self._upstream.url} cannot be reached: {why}")

    def _remove_socket_file(self) -> None:
        if self._listen.path is not None:
            Path(self._listen.path).unlink(missing_ok=True)

    async def _wait_all_ended(self) -> None:
        while self._connections or self._refused:
            self._all_ended.clear()
            await self._all_ended.wait()


async def _stop_accepting(server: asyncio.Server) -> None:
    """Close a server, but not between its accept of a connection and the making of a transport.

    asyncio would forget the socket of such a connection, and its client would wait in vain.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # an event loop without readers
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)
    server.close()


def _text(error: Exception) -> str:
    """Return what went wrong in the system's words, without numbers and addresses."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        # asyncio puts the address into the text; a resolver's errors have numbers of their own.
        if error.errno is None or isinstance(error, socket.gaierror):
            return error.strerror
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
