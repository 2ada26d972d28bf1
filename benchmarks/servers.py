"""The echo server: `python -m benchmarks.servers PORT`.

Answers every request with a result of the same size, and refuses what the load never sends.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import hashlib
import signal
import sys

from benchmarks.wire import (
    CLOSE,
    FIRST_ID,
    ID_END,
    ID_START,
    PING,
    PONG,
    TEXT,
    Template,
    WireError,
    frame,
    id_pad,
    mask,
    response_template,
    split,
)

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_template = functools.lru_cache(maxsize=8)(response_template)


def accept_value(key: bytes) -> bytes:
    """Return Sec-WebSocket-Accept for a client's key (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


class EchoProtocol(asyncio.Protocol):
    """One connection: a handshake, then frames."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._open = False
        self._size = -1
        self._template: Template | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        buffer = self._buffer + data if self._buffer else data
        if not self._open:
            head, separator, buffer = buffer.partition(b"\r\n\r\n")
            if not separator:
                self._buffer = head
                return
            transport.write(_handshake(head))
            self._open = True
        try:
            frames, used = split(buffer)
            for parts in frames:
                transport.write(self._answer(buffer, *parts))  # each its own, see load.py
        except WireError as error:
            print(f"echo server: {error}", file=sys.stderr, flush=True)
            transport.abort()
            return
        self._buffer = buffer[used:]
        if frames and frames[-1][0] == CLOSE:
            transport.close()

    def _answer(self, buffer: bytes, opcode: int, start: int, end: int, key: bytes) -> bytes:
        if opcode == TEXT:
            identifier = buffer[start + ID_START : start + ID_END]
            if key:
                number = int.from_bytes(identifier, "big") ^ id_pad(key)
                identifier = number.to_bytes(10, "big")
            if not identifier.isdigit() or int(identifier) < FIRST_ID:
                raise WireError(f"no id where one was sent: {identifier!r}")
            if self._template is None or self._size != end - start:
                self._size = end - start
                self._template = _template(self._size)
            return self._template.frame(identifier)
        payload = mask(buffer[start:end], key)
        if opcode == PING:
            return frame(PONG, payload)
        if opcode == CLOSE:
            return frame(CLOSE, payload)
        if opcode == PONG:
            return b""
        raise WireError(f"a frame with opcode {opcode}")


def _handshake(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + accept_value(value.strip())
                + b"\r\n\r\n"
            )
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


async def serve(port: int) -> None:
    """Serve on 127.0.0.1:`port` until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(EchoProtocol, "127.0.0.1", port, backlog=1024)
    # No Server.wait_closed(): the connections that are left end with the process.
    await stop.wait()
    server.close()


if __name__ == "__main__":
    gc.disable()
    asyncio.run(serve(int(sys.argv[1])))
