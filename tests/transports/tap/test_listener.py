"""Every byte leaves the tap unchanged: raw sockets at both ends, bytes compared."""

from __future__ import annotations

import contextlib
import os
import random
import zlib

import pytest
from websockets.frames import Opcode

from debbie_otel.errors import ConfigurationError
from debbie_otel.transports.addresses import parse_listen
from debbie_otel.transports.tap.listener import Tap, TapOptions
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.observer import (
    CloseSeen,
    ControlSeen,
    HandshakeSeen,
    PayloadSeen,
    PayloadSkipped,
)
from tests.transports.raw import (
    DOWN,
    REQUEST,
    RESPONSE,
    UP,
    Watcher,
    every_cut,
    frame,
    listen_socket,
    rig,
    upstream_of,
)


def payloads(events: list[object]) -> list[tuple[MessageDirection, bytes]]:
    return [(e.direction, e.payload) for e in events if isinstance(e, PayloadSeen)]


async def test_headers_pass_in_order_with_case_duplicates_and_white_space() -> None:
    request = (
        b"GET /a%20b/%c3%a4;x=1?q=%2F&q=2&empty HTTP/1.1\r\nhOsT:   agent.example:99  \r\n"
        b"X-Dup: 1\r\nCookie: a=b; c=d\r\nx-dup:2\r\nCookie: e=f\r\nAuthorization: Bearer t\r\n"
        b"Origin: http://x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Protocol: acp, mcp\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    response = RESPONSE.replace(
        b"\r\n\r\n",
        b"\r\nSet-Cookie: s=1\r\nset-cookie: s=2\r\nSec-WebSocket-Protocol: mcp\r\n\r\n",
    )
    async with rig() as it:
        await it.upgrade(request, response)
        [seen] = it.watcher.events
        assert isinstance(seen, HandshakeSeen)
        assert seen.handshake.target == b"/a%20b/%c3%a4;x=1?q=%2F&q=2&empty"
        assert seen.handshake.subprotocol == "mcp"
        names = [name for name, _ in seen.handshake.request_headers]
        assert names[:6] == [b"hOsT", b"X-Dup", b"Cookie", b"x-dup", b"Cookie", b"Authorization"]


async def test_plain_http_with_keep_alive_before_the_upgrade() -> None:
    async with rig() as it:
        await it.passes(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await it.passes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", DOWN)
        await it.passes(b"POST /rpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await it.passes(b"3\r\nabc\r\n0\r\n\r\n")
        await it.passes(b"HTTP/1.1 204 No Content\r\n\r\n", DOWN)
        await it.passes(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        await it.passes(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", DOWN)
        await it.upgrade()
        await it.passes(frame(b"hello"))
        assert payloads([*it.watcher.events]) == [(UP, b"hello")]
        assert it.watcher.wire.inspection_stopped is None


async def test_http_that_never_upgrades_and_bytes_that_are_no_http() -> None:
    async with rig() as it:
        await it.passes(b"GET / HTTP/1.0\r\n\r\n")
        await it.passes(b"HTTP/1.0 200 OK\r\n\r\n" + os.urandom(100_000), DOWN)
    async with rig() as it:
        await it.passes(bytes(range(256)) * 100)
        await it.passes(b"\0\xff" * 1000, DOWN)
        assert it.watcher.wire.inspection_stopped is not None


async def test_fragments_with_pings_between_and_unsolicited_pongs() -> None:
    data = (
        frame(b"{", fin=False)
        + frame(b"ping \xff payload", Opcode.PING)
        + frame(b"", Opcode.CONT, fin=False)
        + frame(b"unsolicited", Opcode.PONG)
        + frame(b"}", Opcode.CONT)
    )
    async with rig() as it:
        await it.upgrade()
        await it.passes(data)
        await it.passes(frame(b"x" * 125, Opcode.PONG, mask=False), DOWN)
        assert it.watcher.events[1:] == [
            ControlSeen(UP, Opcode.PING, b"ping \xff payload"),
            ControlSeen(UP, Opcode.PONG, b"unsolicited"),
            PayloadSeen(UP, b"{}", True),
            ControlSeen(DOWN, Opcode.PONG, b"x" * 125),
        ]


@pytest.mark.parametrize("code", [None, 1000, 1001, 1008, 1011, 2999, 3000, 4000, 4999])
async def test_close_frames_pass_with_code_and_reason(code: int | None) -> None:
    reason = "" if code is None else "grüße"
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    async with rig() as it:
        await it.upgrade()
        await it.passes(frame(payload, Opcode.CLOSE))
        await it.passes(frame(payload, Opcode.CLOSE, mask=False), DOWN)
        it.server.close()
        assert await it.client.receive_until_end() == b""
        it.client.close()
        assert await it.watcher.wait_closed() is None
        assert it.watcher.events[1:] == [
            CloseSeen(UP, code or 1005, reason),
            CloseSeen(DOWN, code or 1005, reason),
        ]


@pytest.mark.parametrize("takeover", [True, False])
async def test_deflate_agreed_by_the_peers_passes_and_is_inspected(takeover: bool) -> None:
    extension = b"permessage-deflate; client_max_window_bits=12"
    if not takeover:
        extension += b"; server_no_context_takeover; client_no_context_takeover"
    extension = b"\r\nSec-WebSocket-Extensions: " + extension + b"\r\n\r\n"
    messages = [b'{"n":%d,"text":"again and again"}' % n for n in range(20)]
    async with rig() as it:
        await it.upgrade(REQUEST, RESPONSE.replace(b"\r\n\r\n", extension))
        for direction, bits in ((UP, 12), (DOWN, 15)):
            deflater = zlib.compressobj(wbits=-bits)
            for message in messages:
                if not takeover:
                    deflater = zlib.compressobj(wbits=-bits)
                packed = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
                mask = direction is UP
                half = len(packed) // 2
                await it.passes(
                    frame(packed[:half], fin=False, rsv1=True, mask=mask)
                    + frame(packed[half:-4], Opcode.CONT, mask=mask),
                    direction,
                )
        assert payloads([*it.watcher.events]) == [
            (direction, message) for direction in (UP, DOWN) for message in messages
        ]
        assert all(e.compressed for e in it.watcher.events if isinstance(e, PayloadSeen))


async def test_every_close_code_passes() -> None:
    codes = range(1000, 5000)
    data = b"".join(frame(code.to_bytes(2, "big") + b"why", Opcode.CLOSE) for code in codes)
    async with rig() as it:
        await it.upgrade()
        await it.passes(data)
        await it.passes(data, DOWN)


async def test_invalid_bytes_pass_though_inspection_ends() -> None:
    async with rig() as it:
        await it.upgrade()
        await it.passes(frame(b"\xff\xfe not utf-8 \xc0"))
        assert payloads([*it.watcher.events]) == [(UP, b"\xff\xfe not utf-8 \xc0")]
        await it.passes(b"\xf7\x05 reserved bits, unknown opcode" + os.urandom(1000))
        assert (
            it.watcher.wire.inspection_stopped == "a frame with reserved bits of no known extension"
        )
        await it.passes(frame(b"still passes"))
        await it.passes(os.urandom(5000), DOWN)
        assert it.tap.counters.inspection_errors == 0


async def test_a_message_of_64_mib_passes_uninspected_and_the_next_is_inspected() -> None:
    async with rig() as it:
        it.watcher.keep_bytes = False
        await it.upgrade()
        size = 64 * 2**20
        large = random.Random(1).randbytes(size)
        await it.passes(frame(large, Opcode.BINARY))
        await it.passes(frame(b"next"))
        assert it.watcher.events[1:] == [
            PayloadSkipped(UP, size, "larger than the inspection limit", large[:512], large[-160:]),
            PayloadSeen(UP, b"next", True),
        ]


async def test_ten_thousand_fragments() -> None:
    pieces = [b"%d," % n for n in range(10_000)]
    data = frame(pieces[0], fin=False, mask=False)
    data += b"".join(frame(p, Opcode.CONT, fin=False, mask=False) for p in pieces[1:-1])
    data += frame(pieces[-1], Opcode.CONT, mask=False)
    async with rig() as it:
        await it.upgrade()
        await it.passes(data, DOWN)
        assert payloads([*it.watcher.events]) == [(DOWN, b"".join(pieces))]


async def test_split_at_every_byte_boundary() -> None:
    """Head, 101 and frames, cut in two at every place; TCP_NODELAY makes each part a segment."""
    message = frame(b'{"jsonrpc":"2.0","method":"x"}') + frame(b"!", Opcode.PING)
    async with rig() as it:
        await it.upgrade()
        count = 0
        for first, second in every_cut(message):
            await it.passes(first)
            await it.passes(second)
            count += 1
        assert payloads([*it.watcher.events]) == [(UP, b'{"jsonrpc":"2.0","method":"x"}')] * count
    for data in (REQUEST, RESPONSE):
        direction = UP if data is REQUEST else DOWN
        async with rig() as it:
            if data is RESPONSE:
                await it.passes(REQUEST)
            for index in range(len(data)):
                await it.passes(data[index : index + 1], direction)
            if data is REQUEST:
                await it.passes(RESPONSE, DOWN)
            assert [type(e) for e in it.watcher.events] == [HandshakeSeen]


async def test_frames_that_come_with_the_101_or_before_it() -> None:
    async with rig() as it:
        await it.passes(REQUEST + frame(b"hasty"))
        await it.passes(RESPONSE + frame(b"greeting", mask=False), DOWN)
        assert payloads([*it.watcher.events]) == [(UP, b"hasty"), (DOWN, b"greeting")]


async def test_the_observer_sees_exactly_what_passed() -> None:
    noise = random.Random(2).randbytes(3_000_000)
    async with rig() as it:
        await it.upgrade()
        await it.passes(noise)
        await it.passes(noise[::-1], DOWN)
        assert it.watcher.bytes[UP] == REQUEST + noise
        assert it.watcher.bytes[DOWN] == RESPONSE + noise[::-1]


async def test_root_target_and_host_are_rewritten_only_where_configured() -> None:
    sent = REQUEST.replace(b"/ws?a=1&b=%2F%20x", b"/")
    async with rig("/ws?token=1", options=TapOptions(host_header="upstream")) as it:
        port = it.listener.getsockname()[1]
        wanted = sent.replace(b"GET / ", b"GET /ws?token=1 ")
        wanted = wanted.replace(b"agent.example:1234", b"127.0.0.1:%d" % port)
        for index in range(len(sent)):
            await it.client.send(sent[index : index + 1])
        assert await it.server.receive_exactly(len(wanted)) == wanted
        await it.passes(RESPONSE, DOWN)
        await it.passes(frame(b"hello"))
        assert payloads([*it.watcher.events]) == [(UP, b"hello")]
    async with rig() as it:
        await it.upgrade(sent)


class FailingObserver:
    """Fails in one of its methods, at every call."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.calls: list[str] = []

    def __call__(self, connection: object) -> FailingObserver:
        self._note("factory")
        return self

    def data_received(self, direction: MessageDirection, data: bytes) -> None:
        self._note("data")

    def cannot_follow(self, reason: str) -> None:
        self._note("cannot follow")

    def closed(self, error: str | None) -> None:
        self._note("closed")

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self.where:
            raise ZeroDivisionError(name)


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("factory", ["factory"]),
        ("data", ["factory", "data"]),
        ("closed", ["factory", "data", "data", "data", "closed"]),
    ],
)
async def test_an_observer_that_fails_is_dropped_and_the_bytes_go_on(
    where: str, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    observer = FailingObserver(where)
    async with rig(observer_factory=observer) as it:
        await it.upgrade()
        await it.passes(frame(b"one"))
        it.client.half_close()
        assert await it.server.receive_until_end() == b""
        it.server.close()
        assert await it.client.receive_until_end() == b""
        with pytest.raises(ExceptionGroup) as caught:
            await it.tap.stop()
    assert [str(e) for e in caught.value.exceptions] == [where]
    assert observer.calls == calls
    assert it.tap.counters.inspection_errors == 1
    assert len([r for r in caplog.records if "an observer failed" in r.message]) == 1


async def test_an_address_that_is_taken_is_a_configuration_error() -> None:
    with contextlib.closing(listen_socket()) as taken:
        address = parse_listen(f"127.0.0.1:{taken.getsockname()[1]}")
        tap = Tap(address, upstream_of(taken), Watcher())
        with pytest.raises(ConfigurationError, match=r"--listen: .*in use"):
            await tap.start()
