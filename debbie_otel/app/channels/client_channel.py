"""ClientChannel: acts on a connection of which this process is the client.

What is said goes through the connection's own `send`, between two messages of the program's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from websockets.http11 import Request as HttpRequest

from debbie_otel.app.channels.program_channel import Home, ProgramChannel
from debbie_otel.app.channels.side_session import SideSession
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.program_interceptor import ProgramInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.intervention.mediator import SessionNames
from debbie_otel.transports.addresses import Address, Upstream
from debbie_otel.transports.program.injection import deliver, inject
from debbie_otel.transports.program.observed import Observed, split_authority
from debbie_otel.transports.tap.dialer import Dialer
from debbie_otel.transports.tap.upstream_connection import UpstreamConnection
from debbie_otel.wire.handshake import Handshake

MAX_SIDES = 4
"""Side connections of one connection's that may be open."""
_CONNECT_SECONDS = 10.0


class ClientChannel(ProgramChannel):
    """A `Channel` for the client's end of a connection of websockets.

    Args:
        connection: Of websockets.
        link: What stands before it.
        interceptor: Observes it.
        home: Returns Debbie's event loop; None while she does not run.
        observe: Returns the observer of another connection to the same server.

    """

    def __init__(
        self,
        connection: Any,
        link: Observed,
        interceptor: ProgramInterceptor,
        home: Home,
        observe: Callable[[], WebSocketInterceptor],
    ) -> None:
        super().__init__(connection, link, interceptor, link.incoming, home)
        self._observe = observe
        self._sides: set[SideSession] = set()

    async def side(self) -> SideSession:
        """Open another connection to the server; see `Channel.side`."""
        with self._acting():
            handshake = _handshake(getattr(self._connection, "request", None))
        if len(self._sides) >= MAX_SIDES:
            raise ChannelError(f"{MAX_SIDES} side connections are open already")
        size = self._interceptor.max_message_size
        dialer = _dialer(self._connection, handshake)
        upstream = await UpstreamConnection.open(dialer, handshake, size)
        if self._ended is not None:
            upstream.abort()
            raise ChannelError(self._ended)
        observer = self._observe()
        observer.connection.speak(self._model.dialect)
        observer.handshake_received(None, handshake.request_headers)
        side = SideSession(upstream, observer, SessionNames(), self._model)
        side.on_end = self._sides.discard
        self._sides.add(side)
        return side

    def closed(self) -> None:
        """Take note that the connection is gone: side connections are closed too."""
        super().closed()
        if (home := self._home()) is not None:
            call_on(home, self._end_sides)

    async def stop(self) -> None:
        """Act no more: what is under way is given up, and side connections are closed."""
        self.closed()
        await asyncio.gather(*(side.close() for side in list(self._sides)))
        await super().stop()

    async def _say(self, payload: bytes) -> None:
        await inject(self._connection, payload.decode())

    def _give(self, payload: bytes) -> None:
        deliver(self._connection, self._link, payload)

    def _end_sides(self) -> None:
        for side in list(self._sides):
            side.end()


def _handshake(request: HttpRequest | None) -> Handshake:
    """Return what the program said to open its connection, to be said again."""
    if not isinstance(request, HttpRequest):
        raise ChannelError("how the connection was opened is not known")
    headers = tuple(
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in request.headers.raw_items()
    )
    return Handshake(
        target=request.path.encode("latin-1"),
        request_headers=headers,
        response_headers=(),
        subprotocol=None,
        client_deflate=None,
        server_deflate=None,
    )


def _dialer(connection: Any, handshake: Handshake) -> Dialer:
    """Return the way to the server that the program is connected to."""
    tls = _tls(connection)
    authority = handshake.request_header("host") or ""
    host, port = split_authority(authority)
    peer = connection.remote_address
    if isinstance(peer, str | bytes):
        address = Address(path=peer if isinstance(peer, str) else peer.decode())
    elif tls is None:
        address = Address(host=peer[0], port=peer[1])  # also where the name has moved meanwhile
    else:
        address = Address(host=host, port=port or 443)  # the certificate is for the name
    scheme = "ws" if tls is None else "wss"
    upstream = Upstream(f"{scheme}://{authority}", address, tls is not None, authority=authority)
    return Dialer(upstream, tls, _CONNECT_SECONDS)


def _tls(connection: Any) -> ssl.SSLContext | None:
    """Return the TLS context of a connection; None if it is plain."""
    transport = getattr(connection, "transport", None)
    if transport is not None:
        found: ssl.SSLContext | None = transport.get_extra_info("sslcontext")
        return found
    sock = getattr(connection, "socket", None)
    return sock.context if isinstance(sock, ssl.SSLSocket) else None
