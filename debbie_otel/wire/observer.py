"""One connection's bytes, both directions -> handshake, messages and control frames.

`WireObserver` gets a copy of the bytes that pass. It is total: where bytes cannot be followed, it
stops inspecting for the rest of the connection, and `inspection_stopped` says why.
"""

from __future__ import annotations

import msgspec

from debbie_otel.errors import InspectionError
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import (
    DEFAULT_MAX_MESSAGE_SIZE,
    CloseSeen,
    ControlSeen,
    FrameParser,
    PayloadSeen,
    PayloadSkipped,
)
from debbie_otel.wire.handshake import Handshake, HandshakeObserver

__all__ = [
    "CloseSeen",
    "ControlSeen",
    "HandshakeSeen",
    "PayloadSeen",
    "PayloadSkipped",
    "WireEvent",
    "WireObserver",
]

_CLIENT = MessageDirection.CLIENT_TO_SERVER
_SERVER = MessageDirection.SERVER_TO_CLIENT


class HandshakeSeen(msgspec.Struct, frozen=True):
    """The connection has become a WebSocket."""

    handshake: Handshake


WireEvent = HandshakeSeen | PayloadSeen | PayloadSkipped | ControlSeen | CloseSeen


class WireObserver:
    """Follows one connection from its first byte.

    Args:
        max_message_size: Larger messages (bytes, after decompression) are reported as skipped.

    Attributes:
        inspection_stopped: Why nothing is inspected any more; None while all is understood.
        handshake: The upgrade; None before it.

    """

    __slots__ = (
        "_client",
        "_http",
        "_max_message_size",
        "_server",
        "handshake",
        "inspection_stopped",
    )

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        self.inspection_stopped: str | None = None
        self.handshake: Handshake | None = None
        self._max_message_size = max_message_size
        self._http: HandshakeObserver | None = HandshakeObserver()
        self._client: FrameParser | None = None
        self._server: FrameParser | None = None

    def receive_data(self, direction: MessageDirection, data: bytes) -> list[WireEvent]:
        """Take the next bytes of a direction, as they were cut; return what they complete.

        The bytes of both directions must come in the order in which they passed.

        """
        events: list[WireEvent] = []
        parser = self._client if direction is _CLIENT else self._server
        try:
            if parser is not None:
                parser.receive_data(data, events)
            elif self._http is not None:
                self._receive_http(self._http, direction, data, events)
        except InspectionError as error:
            self.stop_inspecting(str(error))
        except Exception:
            # The parsers cannot be trusted any more.
            self.stop_inspecting("the inspection failed")
            raise
        return events

    def parser(self, direction: MessageDirection) -> FrameParser | None:
        """Return the parser of a direction, as it is after the bytes so far.

        None before the handshake, and when the inspection has stopped. A caller that takes over the
        direction's bytes has to show them to this parser.
        """
        return self._client if direction is _CLIENT else self._server

    def renew_server(self, parser: FrameParser) -> None:
        """Follow the bytes of another server from now on."""
        self._server = parser

    def stop_inspecting(self, reason: str) -> None:
        """Inspect nothing more of this connection."""
        self.inspection_stopped = reason
        self._http = self._client = self._server = None

    def _receive_http(
        self,
        http: HandshakeObserver,
        direction: MessageDirection,
        data: bytes,
        events: list[WireEvent],
    ) -> None:
        handshake = http.receive_data(direction, data)
        if handshake is None:
            return
        self._http = None
        self.handshake = handshake
        limit = self._max_message_size
        self._client = FrameParser(_CLIENT, handshake.client_deflate, limit)
        self._server = FrameParser(_SERVER, handshake.server_deflate, limit)
        events.append(HandshakeSeen(handshake))
        # Frames may follow the 101 at once, and a hasty client's may have come before it.
        self._client.receive_data(http.take_leftover(_CLIENT), events)
        self._server.receive_data(http.take_leftover(_SERVER), events)
