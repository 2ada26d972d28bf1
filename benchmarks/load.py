"""The load: connections that keep a number of requests in flight, and time every answer."""

from __future__ import annotations

import asyncio
import gc
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

from benchmarks.wire import (
    CLOSE,
    FIRST_ID,
    ID_END,
    ID_START,
    MASK_KEY,
    PING,
    TEXT,
    Template,
    WireError,
    frame,
    request_template,
    split,
)

OPEN_TIMEOUT = 20.0
CLOSE_TIMEOUT = 5.0
DRAIN_TIMEOUT = 15.0
_AT_ONCE = 50

_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of that key: the example of RFC 6455, section 1.3


@dataclass
class Sample:
    """What one run of the load saw.

    Attributes:
        round_trips: All of them, also those of the warm-up and of the end.
        timed: Those answered while the clock ran, for `seconds`.
        latencies: Of the timed ones, in seconds.

    """

    round_trips: int
    timed: int
    seconds: float
    latencies: array[float]

    def latency(self, quantile: float) -> float:
        """Return a quantile of the latencies, in seconds (nearest rank)."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * quantile))]


class _Run:
    """One run over several connections; `done` ends it."""

    def __init__(self, template: Template, size: int, warm_up: float, seconds: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.template = template
        self.size = size
        self.begin = perf_counter() + warm_up
        self.end = self.begin + seconds
        self.latencies = array("d")
        self.round_trips = 0
        self.busy = 0

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class LoadConnection(asyncio.Protocol):
    """A client's connection. Ids are distinct for as long as it lives."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._next_id = FIRST_ID
        self._sent: dict[bytes, float] = {}
        self._run: _Run | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_HANDSHAKE % transport.get_extra_info("peername")[1])

    def connection_lost(self, exc: Exception | None) -> None:
        error = WireError(f"a connection was lost: {exc or 'closed by the peer'}")
        if not self.opened.done():
            self.opened.set_exception(error)
        if self._run is not None:
            self._run.fail(error)
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        buffer = self._buffer + data if self._buffer else data
        if not self.opened.done():
            head, separator, buffer = buffer.partition(b"\r\n\r\n")
            if not separator:
                self._buffer = head
                return
            self._shake_hands(head)
        try:
            frames, used = split(buffer)
            self._buffer = buffer[used:]
            answered = 0
            for opcode, start, end, _ in frames:
                if opcode == TEXT:
                    self._answered(buffer, start, end, now)
                    answered += 1
                else:
                    self._control(opcode, buffer[start:end])
        except WireError as error:
            self._fail(error)
            return
        if answered:
            self._go_on(answered, now)

    def _shake_hands(self, head: bytes) -> None:
        if head.startswith(b"HTTP/1.1 101 ") and _ACCEPT in head:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(WireError(f"no handshake: {head[:200]!r}"))
            self.abort()

    def _answered(self, buffer: bytes, start: int, end: int, now: float) -> None:
        run = self._run
        sent = self._sent.pop(buffer[start + ID_START : start + ID_END], None)
        if run is None or sent is None or end - start != run.size:
            raise WireError(f"an answer to nothing that was asked: {buffer[start:end][:80]!r}")
        if run.begin <= now < run.end:
            run.latencies.append(now - sent)

    def _go_on(self, answered: int, now: float) -> None:
        run = self._run
        assert run is not None
        run.round_trips += answered
        if now < run.end:
            self._send(answered)
        elif not self._sent:
            self._run = None
            run.busy -= 1
            if run.busy == 0 and not run.done.done():
                run.done.set_result(None)

    def _send(self, count: int) -> None:
        assert self._run is not None
        assert self._transport is not None
        build, write, first = self._run.template.frame, self._transport.write, self._next_id
        self._next_id = first + count
        for number in range(first, first + count):
            identifier = b"%d" % number
            # A write per message, as every WebSocket library does it: written together, the
            # messages would reach the program in the middle in lumps, which flatters byte tunnels.
            self._sent[identifier] = perf_counter()
            write(build(identifier))

    def _control(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        if opcode == PING:
            self._transport.write(frame(0xA, payload, MASK_KEY))
        elif opcode == CLOSE:
            self._transport.close()

    def _fail(self, error: WireError) -> None:
        if self._run is not None:
            self._run.fail(error)
        self.abort()

    def start(self, run: _Run, window: int) -> None:
        """Join a run, with `window` requests in flight."""
        self._run = run
        run.busy += 1
        self._send(window)

    def close(self) -> None:
        """Begin the closing handshake."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(CLOSE, (1000).to_bytes(2, "big"), MASK_KEY))

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[LoadConnection]]:
    """Open `count` WebSocket connections to 127.0.0.1:`port`; close them at the end."""
    loop = asyncio.get_running_loop()
    opened: list[LoadConnection] = []

    async def open_one() -> None:
        connection = LoadConnection()
        await loop.create_connection(lambda: connection, "127.0.0.1", port)
        opened.append(connection)
        await connection.opened

    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            for first in range(0, count, _AT_ONCE):
                await asyncio.gather(
                    *(open_one() for _ in range(first, min(first + _AT_ONCE, count)))
                )
        yield opened
    finally:
        for connection in opened:
            connection.close()
        waiting = [connection.closed for connection in opened]
        if waiting:
            await asyncio.wait(waiting, timeout=CLOSE_TIMEOUT)
        for connection in opened:
            connection.abort()
        await asyncio.gather(*waiting)


async def run(
    opened: list[LoadConnection], size: int, window: int, warm_up: float, seconds: float
) -> Sample:
    """Load the connections: `warm_up` seconds untimed, `seconds` timed, then what is in flight.

    Raises:
        WireError: A connection was lost, or an answer was not what was asked for.
        TimeoutError: Answers are missing.

    """
    gc.collect()
    gc.disable()
    try:
        current = _Run(request_template(size), size, warm_up, seconds)
        for connection in opened:
            connection.start(current, window)
        async with asyncio.timeout(warm_up + seconds + DRAIN_TIMEOUT):
            await current.done
    finally:
        gc.enable()
    return Sample(current.round_trips, len(current.latencies), seconds, current.latencies)
