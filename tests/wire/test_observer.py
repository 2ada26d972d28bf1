"""One connection's bytes to events, handshake and both directions together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from debbie_otel.wire.deflate import DeflateParameters
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.observer import (
    CloseSeen,
    ControlSeen,
    HandshakeSeen,
    PayloadSeen,
    PayloadSkipped,
    WireEvent,
    WireObserver,
)

UP = MessageDirection.CLIENT_TO_SERVER
DOWN = MessageDirection.SERVER_TO_CLIENT


class Peers:
    """A websockets client and server, sans I/O, with an observer of the bytes between them."""

    def __init__(self, *, deflate: bool = False, max_message_size: int = 10_000) -> None:
        self.client = ClientProtocol(
            parse_uri("ws://agent.example/ws?x=1"),
            extensions=[ClientPerMessageDeflateFactory()] if deflate else None,
        )
        self.server = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory(True, True, 12, 11)] if deflate else None
        )
        self.observer = WireObserver(max_message_size)
        self.events: list[WireEvent] = []
        self.client.send_request(self.client.connect())
        self.flush()
        request = self.server.events_received()[0]
        self.server.send_response(self.server.accept(request))  # type: ignore[arg-type]
        self.flush()
        assert self.server.handshake_exc is None

    def flush(self) -> None:
        """Carry the bytes that both peers have to send."""
        for source, sink, direction in (
            (self.client, self.server, UP),
            (self.server, self.client, DOWN),
        ):
            for data in source.data_to_send():
                if data:
                    self.events += self.observer.receive_data(direction, data)
                    sink.receive_data(data)


@pytest.mark.parametrize("deflate", [False, True])
def test_a_session_of_websockets_own_peers(deflate: bool) -> None:
    peers = Peers(deflate=deflate)
    peers.client.send_text(b'{"id":1}')
    peers.flush()
    peers.server.send_text(b'{"id":', fin=False)
    peers.server.send_ping(b"between")
    peers.server.send_continuation(b"1}", fin=True)
    peers.flush()
    peers.server.send_binary(b"x" * 20_000)
    peers.client.send_close(4001, "bye")
    peers.flush()
    [seen, *rest] = peers.events
    assert isinstance(seen, HandshakeSeen)
    assert peers.observer.handshake is seen.handshake
    assert seen.handshake.target == b"/ws?x=1"
    if deflate:
        assert seen.handshake.client_deflate == DeflateParameters(True, 11)
        assert seen.handshake.server_deflate == DeflateParameters(True, 12)
    [skipped] = [e for e in rest if isinstance(e, PayloadSkipped)]
    assert skipped.direction is DOWN
    assert skipped.size == 20_000 if not deflate else skipped.size < 100
    assert [e for e in rest if e is not skipped] == [
        PayloadSeen(UP, b'{"id":1}', True, deflate),
        ControlSeen(DOWN, Opcode.PING, b"between"),
        PayloadSeen(DOWN, b'{"id":1}', True, deflate),
        ControlSeen(UP, Opcode.PONG, b"between"),
        CloseSeen(UP, 4001, "bye"),
        CloseSeen(DOWN, 4001, "bye"),
    ]
    assert peers.observer.inspection_stopped is None


def test_frames_around_the_101() -> None:
    observer = WireObserver()
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    response = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert observer.receive_data(UP, request + b"\x81\x01a\x81") == []
    events = observer.receive_data(DOWN, response + b"\x81\x01b\x81\x01")
    assert [type(e) for e in events] == [HandshakeSeen, PayloadSeen, PayloadSeen]
    assert events[1:] == [PayloadSeen(UP, b"a", True), PayloadSeen(DOWN, b"b", True)]
    assert observer.receive_data(DOWN, b"c") == [PayloadSeen(DOWN, b"c", True)]
    assert observer.receive_data(UP, b"\x01d") == [PayloadSeen(UP, b"d", True)]


def test_an_error_blinds_both_directions_for_good() -> None:
    peers = Peers()
    assert peers.observer.receive_data(DOWN, b"\x81\x01a\x87\x00") == [
        PayloadSeen(DOWN, b"a", True)
    ]
    assert peers.observer.inspection_stopped == "a frame with the unknown opcode 7"
    for direction in (UP, DOWN):
        assert peers.observer.receive_data(direction, b"\x81\x01a") == []


def test_no_http_is_blind_from_the_start() -> None:
    observer = WireObserver()
    assert observer.receive_data(UP, b"\x16\x03\x01\x02\x00") == []
    assert observer.inspection_stopped is not None
    assert observer.handshake is None


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=80)), max_size=8))
def test_any_bytes_never_raise(pieces: list[tuple[bool, bytes]]) -> None:
    fresh, upgraded = WireObserver(), Peers(deflate=True).observer
    for up, data in pieces:
        for observer in (fresh, upgraded):
            observer.receive_data(UP if up else DOWN, data)
