"""The beginning of a connection: the client's first bytes, the upstream, or a refusal.

Until the upstream is connected the client's bytes are kept; when it is, they are passed on, and
from the end of the first request's head the two sides are spliced without anything in between
(unless heads are to be rewritten, see `debbie_otel.wire.request_head`).
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from typing import Protocol

from debbie_otel.transports.tap.endpoint import Endpoint
from debbie_otel.transports.tap.forwarding import ByteObserver
from debbie_otel.transports.tap.splice import SplicedConnection
from debbie_otel.wire.request_head import RequestRewriter, end_of_head

_log = logging.getLogger(__name__)

_HOLD_LIMIT = 64 * 1024  # bytes kept for an upstream that is not connected yet, plus one read
_REFUSAL_LINGER = 1.0  # seconds for the client to read a refusal and close


class Owner(Protocol):
    """What a connection needs of the tap that accepted it."""

    head_timeout: float

    def accepted(self, connection: ClientConnection) -> str | None:
        """Start connecting the upstream; or return why the connection is refused."""

    def observer_for(self, connection: ClientConnection) -> ByteObserver | None:
        """Return a new observer."""

    def observer_failed(self, error: Exception) -> None:
        """Count and log the failure of an observer."""

    def ended(self, connection: ClientConnection) -> None:
        """Forget a connection."""


class _State(Enum):
    """How far a connection has come."""

    OPENING = auto()
    """The first head has not come, the upstream is not connected, or heads are to be rewritten."""
    SPLICED = auto()
    """What the client sends goes to the upstream, with nothing in between."""
    REFUSED = auto()
    """The client has its answer; what it goes on to send is dropped."""


_SPLICED = _State.SPLICED  # each read asks for it


class ClientConnection(SplicedConnection):
    """A connection from its acceptance to its end."""

    __slots__ = (
        "_connect_task",
        "_head_tail",
        "_held",
        "_owner",
        "_refusal",
        "_rewriter",
        "_state",
        "_timer",
    )

    def __init__(self, owner: Owner, rewriter: RequestRewriter) -> None:
        super().__init__()
        self._owner = owner
        self._rewriter = rewriter
        self._state = _State.OPENING
        self._held = bytearray()
        # The last bytes of the first head as far as it has come; None once it is complete.
        self._head_tail: bytes | None = b""
        self._refusal: tuple[str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connect_task: asyncio.Task[None] | None = None

    def connect_with(self, task: asyncio.Task[None]) -> None:
        """Remember the task that connects the upstream, to be cancelled if the client leaves."""
        self._connect_task = task

    def received(self, endpoint: Endpoint, data: bytes) -> None:
        """Take bytes that have arrived at an endpoint."""
        if endpoint is self.upstream:
            self.downward.forward(data)
        elif self._state is _SPLICED:
            self.upward.forward(data)
        elif self._state is _State.OPENING:
            self._receive_first(data)

    def made(self, endpoint: Endpoint) -> None:
        """Take up a endpoint that is connected: first the client, later the upstream."""
        assert endpoint.transport is not None
        if endpoint is self.client:
            self._client_made(endpoint.transport)
        else:
            self._upstream_made()

    def upstream_failed(self, reason: str) -> None:
        """Answer the client's request with 502: there is no upstream."""
        self._connect_task = None
        _log.warning("%s: %s", self.peer, reason)
        if self.error is None:
            self.error = reason
        self.refuse("502 Bad Gateway", reason)

    def refuse(self, status: str, reason: str) -> None:
        """Answer the client's request, once its head was read, and close."""
        self._refusal = (status, reason)
        self._held.clear()
        self.client.resume_reading()
        if self._head_tail is None or self.upward.ended:
            self._answer()

    def ended(self, endpoint: Endpoint) -> bool:
        """Pass on that a endpoint sends no more; return whether it can still be written to."""
        if self._refusal is not None:
            self._answer()
            self.client.close()
            return False
        if endpoint is self.client and self.upstream.transport is not None:
            self._pass_on(self._rewriter.finish())
        return super().ended(endpoint)

    def lost(self, endpoint: Endpoint, exc: Exception | None) -> None:
        """Close the other endpoint, or stop connecting it."""
        if endpoint is self.client and self._connect_task is not None:
            self._connect_task.cancel()
            self._connect_task = None
        super().lost(endpoint, exc)

    def finish(self) -> None:
        """Leave the tap: both sides are closed."""
        self._stop_timer()
        self._held.clear()
        super().finish()
        self._owner.ended(self)

    def observer_failed(self, error: Exception) -> None:
        """Count and log the failure of an observer."""
        self._owner.observer_failed(error)

    def _client_made(self, transport: asyncio.Transport) -> None:
        self.peer = _peer_name(transport)
        self._timer = asyncio.get_running_loop().call_later(
            self._owner.head_timeout, self._head_timed_out
        )
        refusal = self._owner.accepted(self)
        if refusal is not None:
            self.refuse("503 Service Unavailable", refusal)
            return
        observer = self._owner.observer_for(self)
        if observer is not None:
            self.observe(observer)

    def _upstream_made(self) -> None:
        self._connect_task = None
        held, self._held = bytes(self._held), bytearray()
        self._pass_on(self._rewriter.receive_data(held))
        if self.upward.ended:
            self._pass_on(self._rewriter.finish())
            self.upstream.end()
        if self.upstream.writable:
            self.client.resume_reading()
        self._splice_when_ready()

    def _receive_first(self, data: bytes) -> None:
        """Take bytes of the client while something is left to be done with them."""
        if self._head_tail is not None:
            self._watch_head(data)
        if self._refusal is not None:
            if self._head_tail is None:
                self._answer()
        elif self.upstream.transport is None:
            self._held += data
            if len(self._held) >= _HOLD_LIMIT:
                self.client.pause_reading()
        else:
            self._pass_on(self._rewriter.receive_data(data))
            self._splice_when_ready()

    def _pass_on(self, data: bytes) -> None:
        if data:
            self.upward.forward(data)

    def _splice_when_ready(self) -> None:
        if self._head_tail is None and self._rewriter.done:
            self._state = _State.SPLICED

    def _watch_head(self, data: bytes) -> None:
        """Look for the end of the first request's head, which has to come in time."""
        assert self._head_tail is not None
        seen = self._head_tail + data
        if end_of_head(seen) < 0:
            self._head_tail = seen[-3:]
        else:
            self._head_tail = None
            self._stop_timer()

    def _head_timed_out(self) -> None:
        self._timer = None
        if self._refusal is not None:
            self._answer()
            return
        self.error = f"no complete request head within {self._owner.head_timeout:g} s"
        _log.info("%s: %s", self.peer, self.error)
        self.client.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answer(self) -> None:
        """Write the refusal, then wait a moment for the client to close: no reset overtakes it."""
        self._state = _State.REFUSED
        if self._refusal is None or self.client.transport is None or self.downward.ended:
            return
        status, reason = self._refusal
        body = f"{' '.join(reason.split())}\n".encode()
        self._stop_timer()
        self.downward.ended = True
        self.client.transport.write(
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        if self.upward.ended:
            self.client.close()
        else:
            self.client.end()
        self._timer = asyncio.get_running_loop().call_later(_REFUSAL_LINGER, self.client.close)


def _peer_name(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) >= 2:
        host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
        return f"{host}:{name[1]}"
    return "unix"
