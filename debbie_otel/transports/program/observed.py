"""What is seen of one connection inside a program, and what its program gets to see of it.

The program's own library speaks WebSocket; only whole messages matter here. How they are had from
the library is in `link` and `legacy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from debbie_otel import semconv
from debbie_otel.errors import FailOpen
from debbie_otel.session.model import Clock
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.transports.program.message_filter import Sieve
from debbie_otel.wire.deflate import HEAD, TAIL
from debbie_otel.wire.direction import MessageDirection

Side = Literal["client", "server"]


class MessageObserver(Protocol):
    """Is shown every message of one connection.

    Attributes:
        clock: Tells the time.
        guard: What happens when Debbie's own code fails.
        max_message_size: Bytes; of larger messages only the ends are shown.

    """

    clock: Clock
    guard: FailOpen
    max_message_size: int

    def handshake_received(
        self, subprotocol: str | None, request_headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Take note of the handshake."""

    def message_received(self, direction: MessageDirection, payload: bytes, time_ns: int) -> None:
        """Take in a whole message."""

    def message_skipped(
        self,
        direction: MessageDirection,
        head: bytes,
        size: int,
        time_ns: int,
        *,
        tail: bytes = b"",
    ) -> None:
        """Take note of a message that is too large to be kept, by how it begins and ends."""

    def close(self, time_ns: int, reason: str) -> None:
        """Take note of the connection's end. Once is enough."""

    def abandon(self) -> None:
        """Take note of the end in the midst of a garbage collection."""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A connection inside this program, when it becomes known.

    Attributes:
        side: What the program is to it.
        headers: Of the handshake's request; names in lower case. Empty where unknown.
        subprotocol: The one agreed on.
        link: What stands before the connection.

    """

    side: Side
    headers: Mapping[str, str] = {}
    subprotocol: str | None = None
    link: Observed | None = None

    def attributes(self) -> Attributes:
        """Return the attributes of all its spans: what server the client has asked for."""
        host, port = split_authority(self.headers.get("host", ""))
        attributes: Attributes = {semconv.NETWORK_TRANSPORT: "tcp"}
        if host:
            attributes[semconv.SERVER_ADDRESS] = host
        if port is not None:
            attributes[semconv.SERVER_PORT] = port
        return attributes

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as an interceptor takes them; what no header can hold is left out."""
        return [
            (name.encode("latin-1", "ignore"), value.encode("latin-1", "ignore"))
            for name, value in self.headers.items()
        ]


class Watch(msgspec.Struct, frozen=True):
    """Who observes connections, and by which clock.

    Attributes:
        open: Returns the observer of a connection, at its first message; None for nobody.
        clock: Tells the time.
        guard: What happens when our own code fails.
        max_message_size: Bytes; larger messages are not inspected.

    """

    open: Callable[[Opening], MessageObserver | None]
    clock: Clock
    guard: FailOpen
    max_message_size: int


def split_authority(authority: str) -> tuple[str, int | None]:
    """Return host and port of a Host header; no port where it says none."""
    try:
        parts = urlsplit(f"//{authority}")
        return parts.hostname or "", parts.port
    except ValueError:  # the program's peer may send anything
        return "", None


class _Gathered:
    """The message of one direction that is being sent in fragments."""

    __slots__ = ("data", "limit", "size", "tail", "under_way")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data = bytearray()
        self.tail = b""
        self.size = 0
        self.under_way = False

    def begin(self) -> None:
        self.under_way = True
        self.size = 0
        self.tail = b""
        self.data.clear()

    def add(self, piece: bytes | bytearray | memoryview) -> None:
        self.size += len(piece)
        room = self.limit if self.size <= self.limit else HEAD
        if len(self.data) < room:
            self.data += bytes(piece)[: room - len(self.data)]
        self.tail = (self.tail + bytes(piece[-TAIL:]))[-TAIL:]


class Observed:
    """One connection of the program; hands its messages to an interceptor.

    Args:
        side: What the program is to it: a client sends from client to server.
        watch: Who observes it.

    Attributes:
        watch: May be replaced, see `hand_over`.
        incoming: Judges received messages before the program gets them, and
        outgoing: sent ones before they leave. What it drops was never received, or sent.
        on_end: Told when the connection has ended, or is not observed any more.

    """

    def __init__(self, side: Side, watch: Watch) -> None:
        self.side: Side = side
        self.watch = watch
        self.incoming = Sieve(watch.max_message_size, self._filter_failed)
        self.outgoing = Sieve(watch.max_message_size, self._filter_failed)
        self.on_end: Callable[[], None] = _nobody
        up, down = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
        self._sent, self._received = (up, down) if side == "client" else (down, up)
        self._gathered = {
            direction: _Gathered(watch.max_message_size) for direction in MessageDirection
        }
        self._interceptor: MessageObserver | None = None
        self._opened = False
        self._ended = False

    @property
    def interceptor(self) -> MessageObserver | None:
        """Who observes it; None before the first message, and where nobody does."""
        return self._interceptor

    @property
    def connection(self) -> Any:
        """The connection; None where it is not known."""
        return None

    def opening(self) -> Opening:
        """Return what is known of the connection."""
        return Opening(side=self.side, link=self)

    def hand_over(self, watch: Watch) -> None:
        """Have another one observe from now on, so that no message is ever seen by two."""
        self.on_end()
        self.on_end = _nobody
        self.incoming.filter = self.outgoing.filter = None
        before, self._interceptor = self._interceptor, None
        if before is not None:
            before.close(self.watch.clock(), "handed_over")
        self.watch = watch
        self._opened = False

    def release(self) -> None:
        """Leave the connection as it was before."""

    def open(self) -> MessageObserver | None:
        """Return the observer, asked for once."""
        if not self._opened:
            self._opened = True
            try:
                self._interceptor = self.watch.open(self.opening())
            except Exception as error:  # noqa: BLE001 - the program goes on unobserved
                self.watch.guard.failed("the observation of a connection", error)
        return self._interceptor

    # -- messages ----------------------------------------------------------------------------

    def message(self, direction: MessageDirection, payload: bytes | bytearray | memoryview) -> None:
        """Show a whole message to the observer. It is sent, or on its way to the program."""
        try:
            interceptor = self._interceptor or self.open()
            if interceptor is None:
                return
            watch, size = self.watch, len(payload)
            now = watch.clock()
            if size > watch.max_message_size:
                head, tail = bytes(payload[:HEAD]), bytes(payload[-TAIL:])
                interceptor.message_skipped(direction, head, size, now, tail=tail)
                return
            # A program may write its buffer anew once it is sent: keep what was sent.
            data = payload if type(payload) is bytes else bytes(payload)
            interceptor.message_received(direction, data, now)
        except Exception as error:  # noqa: BLE001 - the program must not notice
            self.watch.guard.failed("the observation of a message", error)

    def fragment(
        self,
        direction: MessageDirection,
        piece: bytes | bytearray | memoryview,
        *,
        first: bool,
        final: bool,
    ) -> None:
        """Take in a piece of a message; at the last one the message is shown."""
        try:
            gathered = self._gathered[direction]
            if first:
                gathered.begin()
            elif not gathered.under_way:
                return  # observed from its middle on
            gathered.add(piece)
            if final:
                self._whole(direction, gathered)
        except Exception as error:  # noqa: BLE001 - the program must not notice
            self.watch.guard.failed("the observation of a message", error)

    def _whole(self, direction: MessageDirection, gathered: _Gathered) -> None:
        data, gathered.data, gathered.under_way = bytes(gathered.data), bytearray(), False
        if gathered.size <= gathered.limit:
            self.message(direction, data)
        elif (interceptor := self._interceptor or self.open()) is not None:
            interceptor.message_skipped(
                direction, data[:HEAD], gathered.size, self.watch.clock(), tail=gathered.tail
            )

    def ended(self, *, properly: bool) -> None:
        """End the observation, as the connection has ended. Once is enough."""
        if self._ended:
            return
        self._ended = True
        self._opened = True
        if self._interceptor is not None:
            with self.watch.guard("the end of a connection"):
                reason = "disconnected" if properly else "connection_lost"
                self._interceptor.close(self.watch.clock(), reason)

    def _filter_failed(self, error: Exception) -> None:
        self.watch.guard.failed("the filter of a connection", error)


def _nobody() -> None:
    """Tell nobody."""
