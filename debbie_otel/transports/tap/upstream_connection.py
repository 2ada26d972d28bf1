"""Connections of our own to the upstream, opened with the words with which the client opened its.

The request is the client's own head - path, query, credentials, every header in its place - but
for the key, which has to be fresh, and for extensions, which we do not offer. A client library
would write a head of its own, and could not give the transport away at an exact byte, as a restart
has to.

Source: RFC 6455 sections 4.1 (opening handshake), 5.5 (control frames) and 7.1 (closing).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable

from websockets.frames import CloseCode, Opcode
from websockets.utils import accept_key, generate_key

from debbie_otel.errors import ChannelError, InspectionError
from debbie_otel.transports.tap.dialer import Closable, Dialer
from debbie_otel.wire.decompressing import plain_frame
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import CloseSeen, ControlSeen, FrameEvent, FrameParser, PayloadSeen
from debbie_otel.wire.handshake import Handshake, HandshakeObserver
from debbie_otel.wire.reframe import Reframer

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})([^\r\n]*)\r?\n")
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")
_CLOSE_SECONDS = 1.0
_GOING_AWAY = int(CloseCode.GOING_AWAY).to_bytes(2, "big")
_NOT_SAID_AGAIN = frozenset({b"sec-websocket-extensions"})


class UpstreamConnection(asyncio.Protocol):
    """A WebSocket to the upstream; messages come to `on_message`.

    Args:
        handshake: That of the client.
        max_message_size: Larger messages are not taken in.
        registry: Has it while it is open.

    Attributes:
        on_message: Told of every message.
        on_end: Told once when the connection is over, and why.
        transport: None before it is connected and after it is lost.
        opcode: Of the messages it sends: TEXT or BINARY.
        reframer: Takes the frames; it can be taken over with its transport.

    """

    def __init__(
        self, handshake: Handshake, max_message_size: int, registry: set[Closable]
    ) -> None:
        self._registry = registry
        self.on_message: Callable[[bytes], None] = _ignore
        self.on_end: Callable[[str], None] = _ignore
        self.opcode = int(Opcode.TEXT)
        self.transport: asyncio.Transport | None = None
        parser = FrameParser(_SERVER, None, max_message_size)
        self.reframer = Reframer(parser, self, masked=False)
        self._key = generate_key()
        self._head = _head(handshake, self._key)
        self._http: HandshakeObserver | None = HandshakeObserver()
        self._answer = b""  # as far as it may still be a refusal
        self._is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._closing: asyncio.TimerHandle | None = None
        self._why = ""
        self._told = False

    @classmethod
    async def open(
        cls, dialer: Dialer, handshake: Handshake, max_message_size: int
    ) -> UpstreamConnection:
        """Open one.

        Raises:
            ChannelError: The server cannot be reached, or does not want it.

        """
        it = cls(handshake, max_message_size, dialer.own)
        try:
            await dialer.connect(lambda: it)
            async with asyncio.timeout(dialer.timeout):
                await it._is_open
        except TimeoutError:
            it.abort()
            raise ChannelError(f"no answer in {dialer.timeout:g} s") from None
        except (OSError, ssl.CertificateError) as error:
            it.abort()
            raise ChannelError(f"the server cannot be reached: {error}") from None
        except BaseException:
            it.abort()
            raise
        return it

    def send(self, payload: bytes) -> None:
        """Send a message, as text or binary as the client does.

        Raises:
            ChannelError: The connection is over.

        """
        self.check().write(plain_frame(payload, self.opcode, masked=True))

    def check(self) -> asyncio.Transport:
        """Return its transport; raises ChannelError if the connection is over, or ending."""
        if self.transport is None or self.transport.is_closing():
            raise ChannelError(self._why or "the connection is closed")
        return self.transport

    async def close(self) -> None:
        """Close it in order, in bounded time; messages that still come are told."""
        if self.transport is not None:
            self.end()
            await self._over.wait()

    def end(self) -> None:
        """Begin to close it in order; it is over in bounded time."""
        if self._closing is None and self.transport is not None:
            self._say_goodbye(int(CloseCode.NORMAL_CLOSURE).to_bytes(2, "big"))
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(_CLOSE_SECONDS, self.abort)

    def hand_over(self) -> asyncio.Transport:
        """Give the transport away; `reframer` has seen all that came over it.

        Raises:
            ChannelError: The connection is over.

        """
        transport, self.transport = self.transport, None
        if transport is None or transport.is_closing() or self._closing is not None:
            raise ChannelError(self._why or "the connection is closed")
        self._registry.discard(self)
        self._told = True
        self._over.set()
        return transport

    def abort(self) -> None:
        """Close it at once."""
        if self.transport is not None:
            self.transport.abort()

    # -- what asyncio calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._registry.add(self)
        assert self._http is not None
        self._http.receive_data(_CLIENT, self._head)
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server."""
        if self._http is not None:
            data = self._receive_http(self._http, data)
        for _ in self.reframer.receive(data) if data else ():
            pass  # nobody is to get it
        if self.reframer.lost is not None:
            self._fail(f"the server cannot be followed: {self.reframer.lost}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end."""
        self.transport = None
        self._registry.discard(self)
        if self._closing is not None:
            self._closing.cancel()
        self._fail("the server has closed the connection" if exc is None else str(exc))
        self._over.set()

    # -- as a handler of messages ------------------------------------------------------------

    def message(self, seen: PayloadSeen) -> None:
        """Pass a message to its reader, and to nobody else."""
        self.on_message(seen.payload)

    def passed(self, event: FrameEvent) -> None:
        """Answer a ping or a close frame."""
        if self.transport is None or self.transport.is_closing():
            return
        if isinstance(event, ControlSeen) and event.opcode is Opcode.PING:
            self.transport.write(plain_frame(event.payload, Opcode.PONG, masked=True))
        elif isinstance(event, CloseSeen):
            self._why = f"the server has closed the connection: {event.code} {event.reason}"
            code = (
                CloseCode.NORMAL_CLOSURE if event.code == CloseCode.NO_STATUS_RCVD else event.code
            )
            self._say_goodbye(int(code).to_bytes(2, "big"))
            self.transport.close()

    def closing(self, seen: CloseSeen) -> bool:  # noqa: ARG002 - as a handler has it
        """Let it be told: the bytes go nowhere in any case."""
        return True

    def failed(self, error: Exception) -> None:
        """End it: its reader has failed."""
        self._fail(f"a message could not be taken in: {error!r}")

    # -- inside ------------------------------------------------------------------------------

    def _receive_http(self, http: HandshakeObserver, data: bytes) -> bytes:
        """Take bytes of the server's answer; return what follows it."""
        try:
            handshake = http.receive_data(_SERVER, data)
        except InspectionError as error:
            self._fail(f"the server's answer cannot be read: {error}")
            return b""
        if handshake is None:
            refusal = self._refusal(data)
            if refusal is not None:
                self._fail(f"the server answered {refusal}")
            return b""
        accepted = handshake.response_header("sec-websocket-accept")
        if accepted != accept_key(self._key):
            self._fail("the server accepted another handshake than ours")
        elif handshake.response_header("sec-websocket-extensions"):
            self._fail("the server took up an extension that was not offered")
        else:
            self._http = None
            if not self._is_open.done():
                self._is_open.set_result(None)
            return http.take_leftover(_SERVER)
        return b""

    def _refusal(self, data: bytes) -> str | None:
        """Return the status of a final response other than 101, once its line is whole.

        Any number of informational responses may come first (RFC 9110 section 15.2).
        """
        self._answer += data
        while (status := _STATUS.match(self._answer)) is not None and status[1] != b"101":
            if not status[1].startswith(b"1"):
                return (status[1] + status[2]).decode("latin-1")
            end = _HEAD_ENDS.search(self._answer)
            if end is None:
                return None
            self._answer = self._answer[end.end() :]
        return None

    def _say_goodbye(self, payload: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(plain_frame(payload, Opcode.CLOSE, masked=True))

    def _fail(self, why: str) -> None:
        self._why = self._why or why
        if not self._is_open.done():
            self._is_open.set_exception(ChannelError(self._why))
            self._is_open.exception()  # it may be that nobody waits any more
        if not self._told:
            self._told = True
            self.on_end(self._why)
        self.abort()


def _head(handshake: Handshake, key: str) -> bytes:
    lines = [b"GET " + handshake.target + b" HTTP/1.1"]
    for name, value in handshake.request_headers:
        lower = name.lower()
        if lower == b"sec-websocket-key":
            value = key.encode()
        if lower not in _NOT_SAID_AGAIN:
            lines.append(name + b": " + value)
    return b"\r\n".join((*lines, b"", b""))


def _ignore(_: object) -> None:
    """Take what nobody asked for."""


def dismiss(transport: asyncio.Transport | None) -> None:
    """Close a transport to a server that is not needed any more, in order if that is possible."""
    if transport is None or transport.is_closing():
        return
    transport.set_protocol(asyncio.Protocol())
    transport.resume_reading()
    transport.write(plain_frame(_GOING_AWAY, Opcode.CLOSE, masked=True))
    transport.close()
    asyncio.get_running_loop().call_later(_CLOSE_SECONDS, transport.abort)
