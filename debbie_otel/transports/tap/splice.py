"""One connection through the tap: two endpoints, and a direction from each to the other.

Everything here is synchronous: asyncio calls an `Endpoint`, which calls its connection, which calls
the `Direction` that begins there, which writes to the other endpoint's transport.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol

from debbie_otel.transports.tap.endpoint import Endpoint
from debbie_otel.transports.tap.forwarding import ByteObserver, Direction
from debbie_otel.wire.direction import MessageDirection


class Actor(Protocol):
    """What acts on a connection, and is told of its ends."""

    def upstream_ended(self, error: str | None) -> bool:
        """Take note, before the client hears of it; return whether the client is to go on."""

    def closed(self) -> None:
        """Take note that both sides are closed."""


class SplicedConnection(ABC):
    """A client's connection and the upstream connection that belongs to it.

    Subclassed by `opening.ClientConnection`, which brings the two together.
    """

    __slots__ = (
        "__weakref__",
        "_observer",
        "actor",
        "client",
        "downward",
        "error",
        "peer",
        "upstream",
        "upward",
    )

    def __init__(self) -> None:
        self.client = Endpoint(self, "client")
        self.upstream = Endpoint(self, "upstream")
        self.upward = Direction(self, MessageDirection.CLIENT_TO_SERVER, self.upstream)
        self.downward = Direction(self, MessageDirection.SERVER_TO_CLIENT, self.client)
        self.peer = ""
        self.error: str | None = None
        self.actor: Actor | None = None
        self._observer: ByteObserver | None = None

    def observe(self, observer: ByteObserver) -> None:
        """Show everything from now on to this observer."""
        self._observer = observer
        self.upward.attach(observer)
        self.downward.attach(observer)

    def opposite(self, endpoint: Endpoint) -> Endpoint:
        """Return the other endpoint."""
        return self.upstream if endpoint is self.client else self.client

    def resumed(self, endpoint: Endpoint) -> None:
        """Write on to an endpoint that has room again, and read on from the other."""
        if endpoint.writable:
            (self.downward if endpoint is self.client else self.upward).resume()
        if endpoint.writable and not (endpoint is self.upstream and self.upward.is_frozen):
            self.opposite(endpoint).resume_reading()

    def freeze(self) -> None:
        """Keep what the client sends until `thaw`; its end is noticed all the same."""
        self.upward.freeze()
        self.client.resume_reading()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.upward.thaw()
        self.resumed(self.upstream)

    def replace_upstream(self, transport: asyncio.Transport) -> asyncio.Transport | None:
        """Put another transport in the upstream's place.

        Returns:
            The one that was there, which is nobody's now; None if it is lost already.

        """
        old, self.upstream = self.upstream, Endpoint(self, "upstream")
        self.upstream.adopt(transport)
        transport.set_protocol(self.upstream)
        self.upward.sink = self.upstream
        if not self.client.writable:
            transport.pause_reading()
        old.detach()
        return old.transport

    @abstractmethod
    def received(self, endpoint: Endpoint, data: bytes) -> None:
        """Take bytes that have arrived at an endpoint."""

    @abstractmethod
    def made(self, endpoint: Endpoint) -> None:
        """Take note that an endpoint is connected."""

    def ended(self, endpoint: Endpoint) -> bool:
        """Pass on that an endpoint sends no more; return whether it can still be written to."""
        if endpoint is self.client and self.upward.is_frozen:
            self.client.close()  # it has left: there is no server that could be told of it now
            self.upstream.close()
            return False
        direction = self.upward if endpoint is self.client else self.downward
        direction.drain()
        if endpoint is self.upstream and self._goes_on_without(None):
            return False
        direction.end()
        if self.upward.ended and self.downward.ended:
            self.client.close()
            self.upstream.close()
            return False
        return True

    def lost(self, endpoint: Endpoint, exc: Exception | None) -> None:
        """Close the other endpoint in the way this one was closed."""
        if exc is not None and self.error is None:
            self.error = f"{endpoint.name}: {exc or type(exc).__name__}"
        (self.upward if endpoint is self.client else self.downward).drain()
        if endpoint is self.upstream and self._goes_on_without(self.error):
            return
        other = self.opposite(endpoint)
        if other.transport is None:
            self.finish()
        elif exc is None:
            other.close()
        else:
            other.reset()

    def finish(self) -> None:
        """Tell the observer that both sides are closed, and let go of it."""
        if self.actor is not None:
            try:
                self.actor.closed()
            except Exception as error:  # noqa: BLE001 - the tap goes on without it
                self.observer_failed(error)
            self.actor = None
        observer, self._observer = self._observer, None
        if observer is not None:
            try:
                observer.closed(self.error)
            except Exception as error:  # noqa: BLE001 - the tap goes on without it
                self.drop_observer(error)
        # No reference cycle is left, so that all of it is freed now.
        self.client.detach()
        self.upstream.detach()
        del self.upward, self.downward

    def _goes_on_without(self, error: str | None) -> bool:
        """Tell the actor that the upstream has ended; return whether the client is to go on."""
        if self.actor is None or self.client.transport is None:
            return False
        try:
            return self.actor.upstream_ended(error)
        except Exception as failure:  # noqa: BLE001 - the end goes its way
            self.observer_failed(failure)
            return False

    @abstractmethod
    def observer_failed(self, error: Exception) -> None:
        """Count and log the failure of an observer."""

    def drop_observer(self, error: Exception) -> None:
        """Go on without the observer, which has failed."""
        self.observer_failed(error)
        self._observer = None
        self.upward.attach(None)
        self.downward.attach(None)
