"""The end of `debbie proxy`: in time, in order, with nothing lost, whatever the collector does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.integration.command import Ended, ProxyCommand, proxy_command
from tests.integration.received import Metrics, Span, Spans
from tests.telemetry.collector import free_port, grpc_collector, http_collector

IN_TIME = 5.0
"""Seconds from the signal to the end of the process."""


async def hanging_agent(connection: ServerConnection) -> None:
    """Start sessions; leave everything else without an answer."""
    with contextlib.suppress(ConnectionClosed):
        async for text in connection:
            message = json.loads(text)
            if message["method"] == "startSession":
                result = {"sessionId": "s-1", "status": 1}
                await connection.send(json.dumps({"id": message["id"], "result": result}))


def call(number: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


@contextlib.asynccontextmanager
async def mid_turn(*flags: str, data_dir: Path, **variables: str) -> AsyncIterator[ProxyCommand]:
    """Run a proxy in the middle of a turn: the turn's request and another are unanswered."""
    async with serve(hanging_agent, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        upstream = f"ws://127.0.0.1:{port}/ws"
        async with (
            proxy_command(upstream, *flags, data_dir=data_dir, **variables) as proxy,
            connect(proxy.url, proxy=None) as client,
        ):
            await client.send(call(1, "startSession", userId="u"))
            await client.recv()
            await client.send(call(2, "sendUserMessage", sessionId="s-1", message="hi"))
            await client.send(call(3, "echo", message="hi"))
            await proxy.line("Session started: s-1")
            # What was sent before a ping has passed when its answer comes.
            await (await client.ping())
            yield proxy


def assert_aborted(spans: Spans) -> None:
    """Both that were open have ended as aborted, and the session too."""
    (turn,) = spans.turns
    echo = spans.one("echo")
    assert spans.orphans == []
    assert echo.parent_id == turn.span_id
    assert turn.attributes["debbie.turn.outcome"] == "aborted"
    assert echo.attributes["debbie.call.outcome"] == "aborted"
    for span in (turn, echo):
        assert span.error == span.attributes["error.type"] == "connection_closed"
        assert span.end > span.start
    assert end_of_session(spans).attributes["debbie.session.turns"] == 1


def end_of_session(spans: Spans) -> Span:
    return spans.one("debbie.session.end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_open_spans_and_delivers_them(
    number: signal.Signals, tmp_path: Path
) -> None:
    make: Any = grpc_collector if number is signal.SIGTERM else http_collector
    with make() as collector:
        scheme = "grpc" if number is signal.SIGTERM else "http"
        otlp = f"{scheme}://127.0.0.1:{collector.port}"
        async with mid_turn("--otlp", otlp, data_dir=tmp_path) as proxy:
            ended = await proxy.end(number)
            assert not accepts(proxy.url)
        spans, metrics = Spans(collector.received.traces), Metrics(collector.received.metrics)
    assert (ended.code, ended.err) == (0, [])
    assert ended.seconds < 2
    assert_aborted(spans)
    assert f"{len(spans.all)} spans delivered to {otlp}" in ended.out
    assert "[DEBBIE] Turn 1 aborted: connection_closed" in ended.out
    assert metrics.sums["debbie.sessions.active"] == {(): 0}
    assert metrics.sums["debbie.calls.pending"] == {(): 0}
    assert metrics.by("debbie.turn.duration", "debbie.turn.outcome") == {("aborted",): 1}


async def ended_mid_turn(otlp: str, data_dir: Path, *, impatient: bool) -> tuple[Ended, float]:
    """End a proxy; return the seconds that it took. An impatient user asks a second time."""
    async with mid_turn("--otlp", otlp, data_dir=data_dir) as proxy:
        started = time.monotonic()
        if impatient:
            proxy.send_signal(signal.SIGINT)
            async with asyncio.timeout(IN_TIME):
                while accepts(proxy.url):  # noqa: ASYNC110 - the process tells only by this
                    await asyncio.sleep(0.01)
        ended = await proxy.end(signal.SIGINT)
        return ended, time.monotonic() - started


def accepts(url: str) -> bool:
    host, _, port = url.removeprefix("ws://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_a_collector_that_does_not_answer_costs_neither_time_nor_spans(
    tmp_path: Path,
) -> None:
    """Side by side: one accepts TCP and never answers, one is not there; by gRPC and HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        answering_nothing, absent = mute.getsockname()[1], free_port()
        otlps = [
            f"{scheme}://127.0.0.1:{port}"
            for port in (answering_nothing, absent)
            for scheme in ("grpc", "http")
        ]
        directories = [tmp_path / str(number) for number in range(len(otlps))]
        every = await asyncio.gather(
            *(
                ended_mid_turn(otlp, directory, impatient=str(answering_nothing) in otlp)
                for otlp, directory in zip(otlps, directories, strict=True)
            )
        )
    for otlp, directory, (ended, seconds) in zip(otlps, directories, every, strict=True):
        assert ended.code == 0, otlp
        assert seconds < IN_TIME, otlp
        kept = directory / "spool" / "traces.jsonl"
        spans = Spans.of_file(kept)
        assert_aborted(spans)
        assert f"0 spans delivered to {otlp}, {len(spans.all)} kept in {kept}" in ended.out
        metrics = (directory / "spool" / "metrics.jsonl").read_text()
        assert '"debbie.messages"' in metrics
        assert not any("Traceback" in line for line in ended.err), ended.err


async def test_what_the_client_and_the_server_see_of_the_end(tmp_path: Path) -> None:
    async with serve(hanging_agent, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with proxy_command(
            f"ws://127.0.0.1:{port}", data_dir=tmp_path, OTEL_SDK_DISABLED="true"
        ) as proxy:
            async with connect(proxy.url, proxy=None) as client:
                ended = await proxy.end()
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(client.recv(), 5)
            async with asyncio.timeout(5):
                while server.connections:  # noqa: ASYNC110 - websockets tells no end of all
                    await asyncio.sleep(0)
    assert (ended.code, ended.err) == (0, [])
    assert ended.seconds < 2


# -- clients that leave in the midst of a flood ----------------------------------------------------


async def flooding(connection: ServerConnection) -> None:
    """Send without end, however slowly the client reads."""
    text = json.dumps({"jsonrpc": "2.0", "method": "news", "params": {"text": "x" * 60_000}})
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.send(text)


@pytest.mark.parametrize("how", ["abort", "half close", "stays and does not read"])
async def test_a_client_that_leaves_in_mid_flood_does_not_hold_up_the_end(
    how: str, tmp_path: Path
) -> None:
    async with serve(flooding, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with proxy_command(f"ws://127.0.0.1:{port}/ws", data_dir=tmp_path) as proxy:
            clients = [
                await connect(proxy.url, proxy=None, compression=None, max_queue=1)
                for _ in range(4)
            ]
            for client in clients:
                await client.recv()
                if how == "abort":
                    client.transport.abort()
                elif how == "half close":
                    client.transport.write_eof()
            ended = await proxy.end()
            for client in clients:
                client.transport.abort()
    assert ended.code == 0
    assert ended.seconds < IN_TIME
