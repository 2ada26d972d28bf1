"""One connection's bytes, both directions -> handshake, messages and control frames.

`WireObserver` is what the tap's copy of the bytes goes into. It is total: bytes that cannot be
followed make it blind for the rest of the connection, and `blind` says why.
"""

from __future__ import annotations

import msgspec

from debbie_otel.errors import InspectionError
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frame_events import CloseSeen, ControlSeen, PayloadSeen, PayloadSkipped
from debbie_otel.wire.frames import DEFAULT_MAX_MESSAGE_SIZE, FrameParser
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
        blind: Why nothing is seen any more; None as long as all is understood.
        handshake: The upgrade; None before it.

    """

    __slots__ = ("_client", "_http", "_max_message_size", "_server", "blind", "handshake")

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        self.blind: str | None = None
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
            self.go_blind(str(error))
        except Exception:
            self.go_blind("the inspection failed")  # whose parsers cannot be trusted any more
            raise
        return events

    def parser(self, direction: MessageDirection) -> FrameParser | None:
        """Return the parser of a direction, as it is after the bytes so far; None if blind.

        Whoever is shown the direction's further bytes in the observer's place shows them to it.
        """
        return self._client if direction is _CLIENT else self._server

    def renew_server(self, parser: FrameParser) -> None:
        """Follow the bytes of another server from now on."""
        self._server = parser

    def go_blind(self, reason: str) -> None:
        """Give up: nothing more can be followed."""
        self.blind = reason
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
