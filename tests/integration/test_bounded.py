"""Bounded: thousands of sessions leave nothing behind, and what is too large is not looked at."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import sys
from functools import partial
from pathlib import Path

import pytest
from websockets.frames import Opcode

from tests.integration.proxied import Proxied, config, proxied, raw_upstream, wire
from tests.integration.received import Metrics
from tests.telemetry.collector import http_collector
from tests.transports.raw import DOWN, REQUEST, RESPONSE, UP, frame, until

SESSIONS = 10_000
WARM_UP = 2_000
PARALLEL = 16
DROPPED = 10
"""Every so many sessions one is cut off in the middle of its turn."""

_UNMASKED = b"\x81\xfe\x00\x80\0\0\0\0"
_NUMBER = re.compile(rb'"userId":"(\d+)"')


def masked(payload: bytes) -> bytes:
    """Frame a message of a client with a mask of zeros, so that it can be read as it is."""
    assert len(payload) <= 128
    return _UNMASKED + payload.ljust(128)


class Agent(asyncio.Protocol):
    """Answers a startSession and a sendUserMessage that come together."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer == REQUEST:
            self.transport.write(RESPONSE)
        elif len(self.buffer) == len(REQUEST) + 2 * len(masked(b"")):
            number = _NUMBER.search(self.buffer)
            assert number is not None
            answers = (
                b'{"id":1,"result":{"sessionId":"s-%s","status":1}}' % number.group(1),
                b'{"method":"StreamingUpdate","params":{"content":"a","sessionId":"s-%s"}}'
                % number.group(1),
                b'{"id":2,"result":{"status":0,"ai_response":"ok","tool_calls":[]}}',
            )
            drop = int(number.group(1)) % DROPPED == 0
            for answer in answers[:2] if drop else answers:
                self.transport.write(frame(answer, mask=False))
            if drop:
                self.transport.abort()


class User(asyncio.Protocol):
    """Opens a connection, starts a session and a turn, and leaves when that is answered."""

    def __init__(self, number: int) -> None:
        self.number = b"%d" % number
        self.buffer = b""
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer == RESPONSE:
            self.transport.write(
                masked(b'{"id":1,"method":"startSession","params":{"userId":"%s"}}' % self.number)
                + masked(b'{"id":2,"method":"sendUserMessage","params":{"message":"hi"}}')
            )
        elif self.buffer.endswith(b'"tool_calls":[]}}'):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(None)


async def run_sessions(it: Proxied, numbers: range) -> None:
    loop = asyncio.get_running_loop()
    address = it.tap.addresses[0]
    upcoming = iter(numbers)

    async def worker() -> None:
        for number in upcoming:
            _, user = await loop.create_connection(
                partial(User, number), address.host, address.port
            )
            await asyncio.wait_for(user.gone, 10)

    await asyncio.gather(*(worker() for _ in range(PARALLEL)))
    await until(lambda: it.tap.active == 0)


def blocks() -> int:
    """Return how many blocks of memory Python's objects take.

    Not the process's memory: that moves by megabytes with the allocator's moods.
    """
    gc.collect()
    return sys.getallocatedblocks()


async def test_ten_thousand_sessions_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few traces are kept, for the collector is in this process too.
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.002")
    server = await asyncio.get_running_loop().create_server(Agent, "127.0.0.1", 0)
    url = "ws://{}:{}".format(*server.sockets[0].getsockname())
    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        settings = config(url, tmp_path, otlp, detection={"enabled": True})
        async with server, proxied(settings) as it:
            await run_sessions(it, range(WARM_UP))
            before = blocks()
            await run_sessions(it, range(WARM_UP, SESSIONS))
            after = blocks()
            monitor = it.debbie.monitor
            assert monitor.connections == []
            assert monitor.live_sessions() == []
            assert len(monitor.sessions) == 0
            assert it.debbie.interceptors == []
            assert it.tap.counters.accepted == SESSIONS
        metrics = Metrics(collector.received.metrics)
    assert after - before < SESSIONS - WARM_UP  # not even one object a session
    cut = SESSIONS // DROPPED
    outcomes = metrics.by("debbie.turn.duration", "debbie.turn.outcome")
    assert outcomes == {("completed",): SESSIONS - cut, ("aborted",): cut}
    assert metrics.by("debbie.session.duration").total() == SESSIONS
    assert metrics.sums["debbie.sessions.active"] == {(): 0}
    assert metrics.sums["debbie.calls.pending"] == {(): 0}
    assert metrics.total("debbie.messages") == 5 * SESSIONS - cut


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_large_messages_pass_and_are_counted_as_uninspected(
    direction: str, tmp_path: Path
) -> None:
    way = UP if direction == UP else DOWN
    mask = way is UP
    small = b'{"id":%d,"method":"small"}'
    numbers = itertools.count()
    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        async with (
            raw_upstream() as (listener, url),
            proxied(config(url, tmp_path, otlp, proxy={"max_message_size": 1000})) as it,
            wire(it, listener) as opened,
        ):
            for large in (
                frame(b"x" * 1001, mask=mask),
                frame(b"x" * 600, mask=mask, fin=False) + frame(b"x" * 600, Opcode.CONT, mask=mask),
                frame(b"x" * 2**20, mask=mask),
            ):
                await opened.message(small % next(numbers), way)
                await opened.passes(large, way)
            await opened.message((small % next(numbers)).ljust(1000), way)
        metrics = Metrics(collector.received.metrics)
    assert metrics.by("debbie.messages.uninspected", "debbie.uninspected.reason") == {
        ("larger than the inspection limit",): 3
    }
    assert metrics.by("debbie.messages", "debbie.message.direction", "rpc.method") == {
        (way.value, "small"): 4
    }
    assert metrics.total("debbie.io") == 1000 + sum(len(small % n) for n in range(3))
