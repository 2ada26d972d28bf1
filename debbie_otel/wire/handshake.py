"""The HTTP/1.1 phase of a connection, observed from beside the path, up to the 101.

Two h11 connections, one in the place of each peer, read a copy of what the other peer sent and
are told of each other's events, so that keep-alive requests, bodies, chunked coding, HEAD,
204/304 and 100-continue before the upgrade are framed as the peers frame them.

Source: RFC 9112 (framing), RFC 6455 section 4 (upgrade), RFC 7692 section 7.1 (parameters).
"""

from __future__ import annotations

import re

import h11
import msgspec
from websockets.exceptions import InvalidHeaderFormat
from websockets.headers import parse_extension

from debbie_otel.errors import InspectionError
from debbie_otel.wire.deflate import DeflateParameters
from debbie_otel.wire.direction import MessageDirection

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of a request's or a response's head above which the connection is not inspected."""

MAX_PENDING_SIZE = 512 * 1024
"""Bytes that may wait for the other direction (pipelined requests) before inspection ends."""

_QUOTATION = re.compile(r""":? (?:bytearray\(|b['"])""")

Headers = tuple[tuple[bytes, bytes], ...]


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """An upgrade to WebSocket that the server accepted.

    Attributes:
        target: Request target as sent, path and query, not unescaped.
        request_headers: In the order and with the case they were sent, duplicates kept.
        response_headers: As those of the request.
        subprotocol: The one the server selected, or None.
        client_deflate: permessage-deflate of client->server messages; None if not agreed.
        server_deflate: The same of server->client messages.

    """

    target: bytes
    request_headers: Headers
    response_headers: Headers
    subprotocol: str | None
    client_deflate: DeflateParameters | None
    server_deflate: DeflateParameters | None

    def request_header(self, name: str) -> str | None:
        """Return a request header's first value (name in any case), or None."""
        return _header(self.request_headers, name)

    def response_header(self, name: str) -> str | None:
        """Return a response header's first value (name in any case), or None."""
        return _header(self.response_headers, name)


class HandshakeObserver:
    """Follows the HTTP/1.1 messages of one connection until it is a WebSocket."""

    def __init__(self) -> None:
        # h11 is told the role of its user: as a server it reads the client's bytes.
        self._reader_of = {
            MessageDirection.CLIENT_TO_SERVER: h11.Connection(h11.SERVER, MAX_HEAD_SIZE),
            MessageDirection.SERVER_TO_CLIENT: h11.Connection(h11.CLIENT, MAX_HEAD_SIZE),
        }
        self._pending = {direction: bytearray() for direction in MessageDirection}
        self._request: h11.Request | None = None
        self._switch: h11.InformationalResponse | None = None

    def receive_data(self, direction: MessageDirection, data: bytes) -> Handshake | None:
        """Take the next bytes of a direction; return the handshake when it is complete.

        Raises:
            InspectionError: This is not HTTP/1.1 that h11 understands, or it becomes another
                protocol than WebSocket. The observer must not be used any more.

        """
        pending = self._pending[direction]
        pending += data
        if len(pending) > MAX_PENDING_SIZE:
            raise InspectionError("too many bytes wait for an answer before the upgrade")
        try:
            self._advance(direction)
        except h11.ProtocolError as error:
            raise InspectionError(
                f"no HTTP/1.1 that can be followed: {_without_quotation(error)}"
            ) from error
        return None if self._switch is None else self._handshake(self._switch)

    def take_leftover(self, direction: MessageDirection) -> bytes:
        """Return, once, the bytes after the handshake: they are frames already."""
        unread = self._reader_of[direction].trailing_data[0] + bytes(self._pending[direction])
        self._pending[direction].clear()
        return unread

    def _advance(self, direction: MessageDirection) -> None:
        """Read on in both directions, from this one on, until neither has anything to say."""
        waiting = 0
        while waiting < 2 and self._switch is None:
            waiting = 0 if self._read(direction) else waiting + 1
            direction = direction.opposite

    def _read(self, direction: MessageDirection) -> bool:
        """Read one direction until it needs more; return whether anything was read."""
        reader = self._reader_of[direction]
        mirror = self._reader_of[direction.opposite]
        if reader.our_role is h11.CLIENT and reader.our_state is h11.IDLE:
            return False  # an answer before the head of its request is whole: it waits for that
        progress = False
        while self._switch is None:
            event = reader.next_event()
            if event is h11.NEED_DATA and self._pending[direction]:
                reader.receive_data(bytes(self._pending[direction]))
                self._pending[direction].clear()
                progress = True
            elif event is h11.NEED_DATA or event is h11.PAUSED:
                break
            else:
                self._mirror(event, mirror)
                progress = True
        return self._start_next_cycle() or progress

    def _mirror(self, event: h11.Event | type, mirror: h11.Connection) -> None:
        if getattr(event, "http_version", b"") == b"1.0":
            raise InspectionError("an HTTP/1.0 peer, whose connection becomes no WebSocket")
        if isinstance(event, h11.Request):
            if event.method == b"CONNECT":
                raise InspectionError("a CONNECT tunnel")
            self._request = event
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            self._switch = event
            return
        if isinstance(
            event,
            h11.Request | h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage,
        ):
            mirror.send_with_data_passthrough(event)

    def _start_next_cycle(self) -> bool:
        """Make both sides ready for the next request where this one is over and answered."""
        connections = self._reader_of.values()
        if not all(set(c.states.values()) == {h11.DONE} for c in connections):
            return False
        for connection in connections:
            connection.start_next_cycle()
        return True

    def _handshake(self, response: h11.InformationalResponse) -> Handshake:
        request = self._request
        response_headers = _raw(response)
        upgrade = _header(response_headers, "upgrade") or ""
        if request is None or upgrade.strip().lower() != "websocket":
            raise InspectionError("an upgrade to another protocol than websocket")
        client_deflate, server_deflate = negotiated_deflate(response_headers)
        return Handshake(
            target=request.target,
            request_headers=_raw(request),
            response_headers=response_headers,
            subprotocol=_header(response_headers, "sec-websocket-protocol"),
            client_deflate=client_deflate,
            server_deflate=server_deflate,
        )


def negotiated_deflate(
    response_headers: Headers,
) -> tuple[DeflateParameters | None, DeflateParameters | None]:
    """Return what the response's Sec-WebSocket-Extensions agreed, client's direction first.

    Raises:
        InspectionError: The header or a permessage-deflate parameter in it is malformed.

    """
    for name, value in response_headers:
        if name.lower() != b"sec-websocket-extensions":
            continue
        try:
            extensions = parse_extension(value.decode("latin-1"))
        except InvalidHeaderFormat as error:
            raise InspectionError("Sec-WebSocket-Extensions that cannot be read") from error
        for extension, parameters in extensions:
            if extension == "permessage-deflate":
                values = dict(parameters)
                return _deflate(values, "client"), _deflate(values, "server")
    return None, None


def _deflate(parameters: dict[str, str | None], side: str) -> DeflateParameters:
    text = parameters.get(f"{side}_max_window_bits") or "15"
    if not text.isdecimal() or not 8 <= int(text) <= 15:
        raise InspectionError(f"Sec-WebSocket-Extensions with a bad {side}_max_window_bits")
    return DeflateParameters(f"{side}_no_context_takeover" in parameters, int(text))


def _without_quotation(error: h11.ProtocolError) -> str:
    """Return what h11 says without the line that it says it of.

    Reasons are logged, and are an attribute of a metric: they must be few, and without content.
    """
    return _QUOTATION.split(str(error), maxsplit=1)[0]


def _raw(head: h11.Request | h11.InformationalResponse) -> Headers:
    return tuple((bytes(name), bytes(value)) for name, value in head.headers.raw_items())


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.lower().encode("latin-1", "replace")
    for key, value in headers:
        if key.lower() == wanted:
            return value.decode("latin-1")
    return None
