"""The HTTP/1.1 phase, as transcripts: what the client and the server send, in order."""

from __future__ import annotations

import pytest

from debbie_otel.errors import InspectionError
from debbie_otel.wire.deflate import DeflateParameters
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.handshake import (
    MAX_HEAD_SIZE,
    MAX_PENDING_SIZE,
    Handshake,
    HandshakeObserver,
    negotiated_deflate,
)

UP = MessageDirection.CLIENT_TO_SERVER
DOWN = MessageDirection.SERVER_TO_CLIENT

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nupgrade: websocket\r\nx-a: 2\r\n"
    b"Connection: Upgrade\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n"

Transcript = list[tuple[MessageDirection, bytes]]


def observe(
    transcript: Transcript, step: int | None = None
) -> tuple[HandshakeObserver, Handshake | None]:
    """Feed a transcript, whole pieces or `step` bytes at a time; return what came of it."""
    observer, handshake = HandshakeObserver(), None
    for direction, data in transcript:
        for start in range(0, len(data), step or len(data)):
            assert handshake is None
            handshake = observer.receive_data(direction, data[start : start + (step or len(data))])
    return observer, handshake


KEEP_ALIVE = [
    (UP, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (DOWN, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
]
BODIES = [
    (UP, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
    (DOWN, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"),
    (UP, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    (DOWN, b"HTTP/1.1 204 No Content\r\n\r\n"),
]
HEAD_AND_304 = [
    (UP, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (DOWN, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
    (UP, b"GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: e\r\n\r\n"),
    (DOWN, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
]
CONTINUE = [
    (UP, b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
    (DOWN, b"HTTP/1.1 100 Continue\r\n\r\n"),
    (UP, b"ab"),
    (DOWN, b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
]
EARLY_ANSWER = [
    (UP, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab"),
    (DOWN, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
    (UP, b"cd"),
]
PIPELINED = [
    (UP, b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (DOWN, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
    (DOWN, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"),
]
REFUSED_FIRST = [
    (UP, UPGRADE),
    (DOWN, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"),
]


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize(
    "before",
    [[], KEEP_ALIVE, BODIES, HEAD_AND_304, CONTINUE, EARLY_ANSWER, PIPELINED, REFUSED_FIRST],
)
def test_upgrade_after(before: Transcript, step: int | None) -> None:
    observer, handshake = observe([*before, (UP, UPGRADE), (DOWN, SWITCH)], step)
    assert handshake is not None
    assert handshake.target == b"/ws"
    assert handshake.request_headers == (
        (b"Host", b"x"),
        (b"X-A", b"1"),
        (b"upgrade", b"websocket"),
        (b"x-a", b"2"),
        (b"Connection", b"Upgrade"),
    )
    assert handshake.response_headers[0] == (b"Upgrade", b"WebSocket")
    assert handshake.request_header("x-A") == "1"
    assert handshake.response_header("Set-Cookie") is None
    assert handshake.subprotocol is None
    assert handshake.client_deflate is handshake.server_deflate is None
    assert observer.take_leftover(UP) == observer.take_leftover(DOWN) == b""


def test_bytes_after_the_heads_are_left_over() -> None:
    observer, handshake = observe(
        [(UP, UPGRADE + b"\x81\x80"), (UP, b"1234"), (DOWN, SWITCH + b"\x81\x01x")]
    )
    assert handshake is not None
    assert observer.take_leftover(UP) == b"\x81\x801234"
    assert observer.take_leftover(DOWN) == b"\x81\x01x"


def test_subprotocol_and_extensions_come_from_the_response() -> None:
    request = UPGRADE.replace(
        b"\r\n\r\n",
        b"\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    )
    _, handshake = observe([(UP, request), (DOWN, SWITCH)])
    assert handshake is not None
    assert handshake.subprotocol is None
    assert handshake.client_deflate is None
    response = SWITCH.replace(
        b"\r\n\r\n",
        b"\r\nsec-websocket-protocol: b\r\n"
        b'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits="10"\r\n\r\n',
    )
    _, handshake = observe([(UP, request), (DOWN, response)])
    assert handshake is not None
    assert handshake.subprotocol == "b"
    assert handshake.client_deflate == DeflateParameters()
    assert handshake.server_deflate == DeflateParameters(max_window_bits=10)


@pytest.mark.parametrize(
    ("value", "client", "server"),
    [
        (b"permessage-deflate", (False, 15), (False, 15)),
        (b"x-other, permessage-deflate; client_no_context_takeover", (True, 15), (False, 15)),
        (
            b"permessage-deflate; server_no_context_takeover; client_max_window_bits=8",
            (False, 8),
            (True, 15),
        ),
    ],
)
def test_negotiated_deflate(
    value: bytes, client: tuple[bool, int], server: tuple[bool, int]
) -> None:
    headers = ((b"sec-WEBSOCKET-extensions", value),)
    assert negotiated_deflate(headers) == (DeflateParameters(*client), DeflateParameters(*server))


def test_no_extension() -> None:
    assert negotiated_deflate(()) == (None, None)
    assert negotiated_deflate(((b"Sec-WebSocket-Extensions", b"x-other"),)) == (None, None)


@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        ([(UP, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")], "no HTTP/1.1"),
        ([(UP, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")], "no HTTP/1.1"),
        ([(UP, b"GET / HTTP/1.0\r\n\r\n")], "HTTP/1.0"),
        ([(UP, UPGRADE), (DOWN, b"HTTP/1.0 501 No\r\n\r\n")], "HTTP/1.0"),
        ([(UP, b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n")], "CONNECT"),
        ([(UP, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 2 * MAX_HEAD_SIZE)], "no HTTP/1.1"),
        (
            [(UP, UPGRADE), (DOWN, SWITCH.replace(b"WebSocket", b"h2c"))],
            "an upgrade to another protocol than websocket",
        ),
        (
            [
                (UP, UPGRADE),
                (
                    DOWN,
                    SWITCH[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate; "
                    b"client_max_window_bits=16\r\n\r\n",
                ),
            ],
            "bad client_max_window_bits",
        ),
        ([(UP, UPGRADE), (DOWN, SWITCH[:-2] + b"Sec-WebSocket-Extensions: =\r\n\r\n")], "Extens"),
        ([(UP, UPGRADE)] + [(UP, b"x" * 1000)] * (MAX_PENDING_SIZE // 1000 + 1), "too many bytes"),
    ],
)
def test_what_cannot_be_followed_is_an_inspection_error(
    transcript: Transcript, reason: str
) -> None:
    with pytest.raises(InspectionError, match=reason):
        observe(transcript)


@pytest.mark.parametrize(
    "transcript",
    [
        [(UP, b"GET /?token=hush HTTP\r\n\r\n")],
        [(UP, b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : hush\r\n\r\n")],
        [(UP, b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: hush\x00\r\n\r\n")],
        [(UP, UPGRADE), (DOWN, b"HTTP/1.1 hush\r\n\r\n")],
        [(UP, UPGRADE), (DOWN, SWITCH.replace(b"WebSocket", b"hush"))],
        [(UP, UPGRADE), (DOWN, SWITCH[:-2] + b"Sec-WebSocket-Extensions: hush=(\r\n\r\n")],
        [
            (UP, UPGRADE),
            (
                DOWN,
                SWITCH[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate; "
                b"client_max_window_bits=hush\r\n\r\n",
            ),
        ],
        [
            (UP, b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (UP, b"1\r\nahush"),
        ],
    ],
)
def test_the_reason_quotes_nothing_of_the_wire(transcript: Transcript) -> None:
    """It is logged, and an attribute of a metric."""
    with pytest.raises(InspectionError) as caught:
        observe(transcript)
    assert "hush" not in str(caught.value)
    assert not str(caught.value).endswith(":")


_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1234567890"


@pytest.mark.parametrize("request_head", [_UPGRADE, _POST])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.0 400 Bad Request\r\n\r\nbody",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_an_answer_at_any_moment_is_followed_or_said_not_to_be(
    request_head: bytes, answer: bytes
) -> None:
    for cut in range(len(request_head) + 1):
        observer = HandshakeObserver()
        try:
            observer.receive_data(MessageDirection.CLIENT_TO_SERVER, request_head[:cut])
            observer.receive_data(MessageDirection.SERVER_TO_CLIENT, answer)
            observer.receive_data(MessageDirection.CLIENT_TO_SERVER, request_head[cut:])
        except InspectionError:
            continue
