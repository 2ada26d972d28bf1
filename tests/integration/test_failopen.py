"""Fail-open: whatever of ours breaks, the bytes go on, it is counted, and it is logged once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Opcode

from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.recording import RecordingWriter
from debbie_otel.session.connection import Connection
from debbie_otel.session.events import Event
from debbie_otel.telemetry.instruments import Instruments
from debbie_otel.telemetry.record_calls import CallRecorder
from debbie_otel.telemetry.recorder import Recorder
from debbie_otel.wire.frames import FrameParser
from tests.integration.proxied import Wire, config, proxied, raw_upstream, wire
from tests.integration.received import Metrics
from tests.telemetry.collector import http_collector
from tests.transports.raw import DOWN, UP, frame, until

ROUNDS = 20
PLANTED = "planted by the test"


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError(PLANTED)


async def echo(it: Wire) -> None:
    """Send calls, which the server echoes; fragments, pings and noise are among them."""
    for number in range(ROUNDS):
        call = b'{"jsonrpc":"2.0","id":%d,"method":"echo","params":{"n":%d}}' % (number, number)
        await it.message(call)
        await it.message(call.replace(b"method", b"result"), DOWN)
    await it.passes(
        frame(b'{"jsonrpc":', fin=False)
        + frame(b"ping", Opcode.PING)
        + frame(b'"2.0"}', Opcode.CONT)
    )
    await it.message(b"\xff\xfe no UTF-8", DOWN)


async def errors_after_echo(
    tmp_path: Path, prepare: Callable[[Any], None] = lambda _: None, **sections: Any
) -> tuple[dict[str, int], Metrics]:
    """Echo through a proxy; return the inspection errors that it exported, by place."""
    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        async with (
            raw_upstream() as (listener, url),
            proxied(config(url, tmp_path, otlp, **sections), strict=False) as it,
        ):
            prepare(it.debbie)
            async with wire(it, listener) as opened:
                await echo(opened)
            await until(lambda: it.tap.active == 0)
            assert it.debbie.monitor.connections == []
    metrics = Metrics(collector.received.metrics)
    errors = metrics.by("debbie.inspection.errors", "error.type")
    return {str(place): count for (place,), count in errors.items()}, metrics


def logged(caplog: pytest.LogCaptureFixture, place: str) -> int:
    return sum(
        place in record.getMessage() and record.exc_info is not None
        for record in caplog.records
        if record.levelno >= logging.ERROR
    )


@pytest.mark.parametrize(
    ("owner", "method", "place", "least"),
    [
        (Connection, "receive", "the session model", 2 * ROUNDS),
        (Connection, "close", "the session model", 1),
        (Instruments, "message_seen", "the recording of a span", 2 * ROUNDS),
        (CallRecorder, "call_ended", "the recording of a span", ROUNDS),
        (Recorder, "__init__", "the set-up of telemetry", 1),
        (FrameParser, "receive_data", "inspection of a connection", 1),
        (WebSocketInterceptor, "handshake_received", "inspection of a connection", 1),
        (RecordingWriter, "write", "the recording", 2 * ROUNDS),
    ],
)
async def test_a_part_that_raises_costs_no_message(
    owner: type,
    method: str,
    place: str,
    least: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(owner, method, broken)
    errors, _ = await errors_after_echo(tmp_path, proxy={"record": tmp_path / "record.jsonl"})
    assert set(errors) == {place}
    assert errors[place] >= least
    assert logged(caplog, place) == 1
    assert PLANTED in caplog.text


async def test_a_subscriber_that_raises_costs_neither_messages_nor_telemetry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []

    def prepare(debbie: Any) -> None:
        debbie.monitor.subscribe(broken)
        debbie.monitor.subscribe(heard.append)  # one that fails does not silence the others

    errors, metrics = await errors_after_echo(tmp_path, prepare)
    assert errors == {"an event subscriber": len(heard)}
    assert logged(caplog, "an event subscriber") == 1
    assert metrics.total("debbie.messages") == 2 * ROUNDS + 2


async def test_an_observer_that_cannot_be_made_costs_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(WebSocketInterceptor, "__init__", broken)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with (
        raw_upstream() as (listener, url),
        proxied(config(url, tmp_path), strict=False) as it,
    ):
        async with wire(it, listener) as opened:
            await echo(opened)
        assert it.tap.counters.inspection_errors == 1
    assert PLANTED in caplog.text


async def test_nothing_fails_where_nothing_is_planted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    errors, metrics = await errors_after_echo(tmp_path)
    assert errors == {}
    assert metrics.by("debbie.messages", "debbie.message.direction", "debbie.message.type") == {
        (UP.value, "request"): ROUNDS,
        (UP.value, "unknown"): 1,
        (DOWN.value, "response"): ROUNDS,
        (DOWN.value, "unknown"): 1,
    }
    assert not caplog.records
