"""ProcessChannel: acts on a connection of this process's own, of which it is the client.

What is sent goes through the connection's own `send`, between two messages of the program's. What
comes back for it is held back by the link's filter, which is there only as long as something is
expected. Debbie's event loop may be another than the program's, which may have none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest

from debbie_otel.core.envelope import encode_message
from debbie_otel.core.handshake import Handshake
from debbie_otel.core.message import MessageDirection
from debbie_otel.core.model import Call
from debbie_otel.core.renaming import Renaming
from debbie_otel.interceptor import WebSocketInterceptor
from debbie_otel.intervention.channel import (
    ChannelError,
    Request,
    Restarted,
    RestartPlan,
)
from debbie_otel.onloop import call_on
from debbie_otel.shared_interceptor import SharedInterceptor
from debbie_otel.transports.addresses import Address, Upstream
from debbie_otel.transports.answers import Answers
from debbie_otel.transports.dialer import Dialer
from debbie_otel.transports.injection import deliver, inject
from debbie_otel.transports.observed import Observed, split_authority
from debbie_otel.transports.own import OwnConnection
from debbie_otel.transports.side import TapSide
from debbie_otel.transports.tasks import TaskSet

MAX_SIDES = 4
"""Side connections of one connection's that may be open."""
_CONNECT_SECONDS = 10.0
_CLOSED = "the connection is closed"


class ProcessChannel:
    """A `Channel` for a connection of websockets.

    Args:
        connection: Of websockets.
        link: What stands before it.
        interceptor: Observes it.
        observe: Returns the observer of another connection to the same server.

    """

    def __init__(
        self,
        connection: Any,
        link: Observed,
        interceptor: SharedInterceptor,
        observe: Callable[[], WebSocketInterceptor],
    ) -> None:
        self._connection = connection
        self._link = link
        self._interceptor = interceptor
        self._model = interceptor.connection
        self._lock = interceptor.lock
        self._observe = observe
        self._answers = Answers(self._model, self._give, self._tell)
        self._sides: set[TapSide] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # of the side connections
        self._tasks = TaskSet()
        self._last: asyncio.Task[None] | None = None
        self._ended: str | None = None
        link.on_end = self.closed

    @property
    def key(self) -> str:
        """The connection's key."""
        return self._model.key

    # -- what strategies do, on Debbie's event loop ---------------------------------------------

    def request(self, method: str, params: Any, *, replaces: Call | None = None) -> Request:
        """Send a request; see `Channel.request`. If that fails, so does its answer."""
        with self._caught_up():
            self._check_open()
            request = self._answers.new(replaces)
            self._watch()
        self._send(method, params, request, replaces)
        return request

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; see `Channel.notify`."""
        self._check_open()
        self._send(method, params, None, None)

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to a request; see `Channel.hold`."""
        with self._caught_up():
            self._check_open()
            self._answers.hold(call)
            self._watch()

    def release(self, call: Call) -> None:
        """Let a held answer through; see `Channel.release`."""
        with self._caught_up():
            self._answers.release(call)
            self._watch()

    def answer(self, call: Call, result: Any) -> None:
        """Answer a held request in the server's place; see `Channel.answer`."""
        with self._caught_up():
            self._check_open()
            self._answers.answer(call, result)
            self._watch()

    def fail(self, call: Call, text: str) -> None:
        """Answer a held request with an error; see `Channel.fail`."""
        with self._caught_up():
            self._check_open()
            self._answers.fail(call, text)
            self._watch()

    async def side(self) -> TapSide:
        """Open another connection to the server; see `Channel.side`."""
        self._check_open()
        if len(self._sides) >= MAX_SIDES:
            raise ChannelError(f"{MAX_SIDES} side connections are open already")
        self._loop = asyncio.get_running_loop()
        handshake = _handshake(getattr(self._connection, "request", None))
        size = self._interceptor.max_message_size
        own = await OwnConnection.open(_dialer(self._connection, handshake), handshake, size)
        if self._ended is not None:
            own.abort()
            raise ChannelError(self._ended)
        observer = self._observe()
        observer.connection.speak(self._model.dialect)
        observer.handshake_received(None, handshake.request_headers)
        side = TapSide(
            own,
            observer,
            Renaming(),
            versioned=self._model.versioned,
            numbered=self._model.numbered,
            on_end=self._sides.discard,
        )
        self._sides.add(side)
        return side

    async def restart(self, plan: RestartPlan) -> Restarted:  # noqa: ARG002
        """Say that this cannot be done: the program's library owns the connection."""
        raise ChannelError("a connection cannot be restarted in-process")

    # -- what the connection tells, on its own thread --------------------------------------------

    def closed(self) -> None:
        """Take note that the connection is gone, or not observed any more."""
        with self._lock:
            if self._ended is not None:
                return
            self._ended = _CLOSED
            self._link.filter = None
            for payload in self._answers.end(_CLOSED):
                self._give(payload)
            self._interceptor.channel = None
        if self._loop is not None:
            call_on(self._loop, self._end_sides)

    async def stop(self) -> None:
        """Act no more: what is under way is given up, and side connections are closed."""
        self.closed()
        await asyncio.gather(*(side.close() for side in list(self._sides)))
        await self._tasks.cancel()

    def _decide(self, payload: bytes) -> bytes | None:
        with self._caught_up():
            decided = self._answers.decide(payload)
            self._watch()
            return decided

    # -- inside ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _caught_up(self) -> Iterator[None]:
        """Hold the lock; the model knows all that was sent and received."""
        with self._lock:
            self._interceptor.catch_up()
            yield

    def _end_sides(self) -> None:
        for side in list(self._sides):
            side.end()

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ChannelError(self._ended)

    def _watch(self) -> None:
        """Look at what comes in as long as something of it may be for us."""
        self._link.filter = self._decide if self._answers else None

    def _send(
        self, method: str, params: Any, request: Request | None, for_call: Call | None
    ) -> None:
        versioned = self._model.versioned if for_call is None else for_call.versioned
        call_id = None if request is None else request.id
        payload = encode_message(method, params, call_id, versioned=versioned)
        # One after the other, in the order in which they were asked for.
        sending = self._inject(payload.decode(), request, self._last)
        self._last = self._tasks.start(sending, f"intervention on {self.key}")

    async def _inject(
        self, payload: str, request: Request | None, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await inject(self._connection, payload)
        except (ConnectionClosed, OSError, RuntimeError, ReferenceError) as error:
            if request is not None:
                with self._lock:
                    self._answers.forget(request, f"it could not be sent: {error}")
                    self._watch()

    def _give(self, payload: bytes) -> None:
        """Have the program receive a message, if it still can."""
        deliver(self._connection, self._link, payload)

    def _tell(self, payload: bytes) -> None:
        now = self._interceptor.clock()
        self._interceptor.message_received(MessageDirection.SERVER_TO_CLIENT, payload, now)
        self._interceptor.catch_up()


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
