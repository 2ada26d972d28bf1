"""Whatever is sent: it arrives unchanged, and is counted as what it is, or as unknown."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from debbie_otel.session import events as ev
from debbie_otel.wire.direction import MessageDirection
from tests.integration.proxied import Proxied, config, proxied, raw_upstream, wire
from tests.integration.received import Metrics, Spans
from tests.telemetry.collector import HttpCollector, http_collector
from tests.transports.raw import DOWN, UP, frame, until

DEEP = 100_000
HUGE_ID = "9" * 5000

CORPUS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["unknown"]),
    "no JSON": (b"hello", ["unknown"]),
    "truncated": (b'{"jsonrpc":"2.0","id":1,"method":"a","par', ["unknown"]),
    "two values": (b'{"id":1,"method":"a"}{"id":2,"method":"b"}', ["unknown"]),
    "deep array": (b"[" * DEEP + b"]" * DEEP, ["unknown"]),
    "deep object": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, ["unknown"]),
    "deep and open": (b"[" * DEEP, ["unknown"]),
    "NaN": (b'{"id":1,"method":"a","params":{"x":NaN,"y":-Infinity}}', ["request"]),
    "NaN as id": (b'{"id":NaN,"method":"a"}', ["request"]),
    "huge number": (b'{"id":2,"method":"a","params":[1e999,%s]}' % (b"9" * 999), ["request"]),
    "huge integer id": (b'{"id":%s,"method":"a"}' % HUGE_ID.encode(), ["request"]),
    "huge text id": (b'{"id":"%s","method":"a"}' % HUGE_ID.encode(), ["request"]),
    "float id": (b'{"id":1.5,"method":"a"}', ["request"]),
    "null id": (b'{"id":null,"method":"a"}', ["request"]),
    "object as id": (b'{"id":{"a":[1]},"method":"a"}', ["request"]),
    "lone surrogate": (rb'{"id":"\ud800","method":"\udfff","params":"\ud800"}', ["request"]),
    "surrogate in UTF-8": (b'{"id":3,"method":"\xed\xa0\x80"}', ["request"]),
    "duplicate keys": (b'{"id":1,"id":2,"method":"a","method":"b"}', ["request"]),
    "byte order mark": (b'\xef\xbb\xbf{"id":4,"method":"a"}', ["request"]),
    "UTF-16": ('{"id":5,"method":"a"}'.encode("utf-16"), ["request"]),
    "invalid UTF-8": (b'{"id":6,"method":"a","params":"\xff\xfe\x80"}', ["request"]),
    "NUL": (b"\0" * 100, ["unknown"]),
    "method of 64 KiB": (b'{"id":7,"method":"%s"}' % (b"m" * 65536), ["request"]),
    "control characters": (b'{"id":8,"method":"a\x01\x1b[2J"}', ["unknown"]),
    "method is a number": (b'{"id":9,"method":7}', ["unknown"]),
    "boolean": (b"true", ["unknown"]),
    "text": (b'"hello"', ["unknown"]),
    "empty batch": (b"[]", ["unknown"]),
    "batch": (b'[{"id":1,"method":"a"},7,{"method":"b"}]', ["request", "unknown", "notification"]),
    "answer to nothing": (b'{"id":"no one asked","result":{}}', ["response"]),
    "both result and error": (b'{"id":"x","result":1,"error":{"code":1,"message":"m"}}', ["error"]),
    "error with a surrogate": (rb'{"id":"z","error":{"code":-1,"message":"\ud800"}}', ["error"]),
    "tool with a surrogate": (
        rb'{"id":10,"method":"tools/call","params":{"name":"\ud800","arguments":{"x":NaN}}}',
        ["request"],
    ),
    "error is a list": (b'{"id":"y","error":[1,2]}', ["error"]),
}  # fmt: skip
"""Payload, and the types that it counts as."""


class Observed:
    """A proxy, the socket behind it, and what it said that it saw."""

    def __init__(self, it: Proxied, listener: Any, collector: HttpCollector) -> None:
        self.it = it
        self.listener = listener
        self.collector = collector
        self.types: list[tuple[MessageDirection, str]] = []
        it.debbie.monitor.subscribe(self._seen, ev.MessageSeen)

    def _seen(self, event: ev.Event) -> None:
        assert isinstance(event, ev.MessageSeen)
        self.types.append((event.message.direction, event.message.type.value))

    async def exchange(self, stream: bytes, direction: MessageDirection) -> list[str]:
        """Send bytes on a new connection; return the types of the messages that were seen."""
        before = len(self.types)
        async with wire(self.it, self.listener) as opened:
            await opened.passes(stream, direction)
        await until(lambda: self.it.tap.active == 0)
        seen = self.types[before:]
        assert {way for way, _ in seen} <= {direction}
        return [kind for _, kind in seen]

    @property
    def metrics(self) -> Metrics:
        return Metrics(self.collector.received.metrics)


@contextlib.asynccontextmanager
async def observed(data_dir: Path, collector: HttpCollector) -> AsyncIterator[Observed]:
    """Run a strict proxy: what raises inside of it raises here."""
    otlp = f"http://127.0.0.1:{collector.port}"
    async with (
        raw_upstream() as (listener, url),
        proxied(config(url, data_dir, otlp), strict=True) as it,
    ):
        yield Observed(it, listener, collector)
    assert it.report is not None
    assert (it.report.spooled, it.report.dropped) == (0, 0)


async def test_the_corpus_passes_and_is_counted(tmp_path: Path) -> None:
    expected: Counter[tuple[Any, ...]] = Counter()
    with http_collector() as collector:
        async with observed(tmp_path, collector) as it:
            for name, (payload, types) in CORPUS.items():
                for direction in (UP, DOWN):
                    data = frame(payload, mask=direction is UP)
                    assert await it.exchange(data, direction) == types, name
                    expected += Counter((direction.value, kind) for kind in types)
        found = it.metrics.by("debbie.messages", "debbie.message.direction", "debbie.message.type")
        assert found == expected
        assert "debbie.inspection.errors" not in it.metrics.sums
        spans = Spans(collector.received.traces)
    # Every message is in a span: on each connection those of the session and one a message.
    assert len(spans.wire) == expected.total() + 2 * 2 * len(CORPUS)
    assert spans.orphans == []


async def test_one_connection_survives_the_whole_corpus(tmp_path: Path) -> None:
    with http_collector() as collector:
        async with observed(tmp_path, collector) as it:
            for direction in (UP, DOWN):
                mask = direction is UP
                stream = b"".join(frame(payload, mask=mask) for payload, _ in CORPUS.values())
                expected = [kind for _, types in CORPUS.values() for kind in types]
                assert await it.exchange(stream, direction) == expected


# -- generated messages ---------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
_METHODS = st.sampled_from(
    ["tools/call", "session/prompt", "sendUserMessage", "turn/start", "item/started", "x"]
)
_ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | _JSON,
        "id": st.integers(0, 3) | _JSON,
        "method": _METHODS | _JSON,
        "params": _JSON,
        "result": _JSON,
        "error": _JSON,
    },
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


_PAYLOADS = (
    _ENVELOPES.map(encoded)
    | st.lists(_ENVELOPES, max_size=4).map(encoded)
    | _JSON.map(encoded)
    | st.binary(max_size=200)
    | st.builds(lambda value, cut: encoded(value)[:cut], _ENVELOPES, st.integers(0, 60))
)
_MESSAGES = st.lists(
    st.tuples(_PAYLOADS, st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.integers(1, 50)),
    min_size=1,
    max_size=12,
)


def fragmented(payload: bytes, opcode: Opcode, size: int, *, mask: bool) -> bytes:
    """Return a message in frames of `size` bytes, with a ping between each two."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    frames = [
        frame(piece, opcode if at == 0 else Opcode.CONT, mask=mask, fin=at == len(pieces) - 1)
        for at, piece in enumerate(pieces)
    ]
    return frame(b"", Opcode.PING, mask=mask).join(frames)


def entries(payload: bytes) -> int:
    """How many messages a payload is: the entries of a batch, else one."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return 1
    return (len(value) or 1) if isinstance(value, list) else 1


def test_generated_messages_pass_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All spans leave at the end: the SDK's exporters draw random numbers for each batch, on a
    # thread of their own, and hypothesis takes that for a strategy that does.
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "65536")
    sent: Counter[tuple[Any, ...]] = Counter()
    with http_collector() as collector, asyncio.Runner() as runner:
        running = observed(tmp_path, collector)
        it = runner.run(running.__aenter__())

        @settings(
            max_examples=120,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(messages=_MESSAGES, direction=st.sampled_from([UP, DOWN]))
        def exchange(
            messages: list[tuple[bytes, Opcode, int]], direction: MessageDirection
        ) -> None:
            stream = b"".join(fragmented(*message, mask=direction is UP) for message in messages)
            count = sum(entries(payload) for payload, _, _ in messages)
            sent[(direction.value,)] += count
            assert len(runner.run(it.exchange(stream, direction))) == count

        try:
            exchange()
        finally:
            runner.run(running.__aexit__(None, None, None))
        assert it.metrics.by("debbie.messages", "debbie.message.direction") == sent
        assert "debbie.inspection.errors" not in it.metrics.sums
