"""One connection's bytes through the interceptor, without a socket."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from debbie_otel.app.config import Config, ProxyConfig
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.session import events as ev
from tests.play import C2S, S2C, stories
from tests.transports.raw import REQUEST, RESPONSE, frame


class Wire:
    """An interceptor after the handshake, and the events that it told."""

    def __init__(self, **proxy: Any) -> None:
        debbie = DebbieDebugger(Config(proxy=ProxyConfig(**proxy)), telemetry=False)
        self.events: list[ev.Event] = []
        debbie.monitor.subscribe(self.events.append)
        self.monitor = debbie.monitor
        self.interceptor: WebSocketInterceptor = debbie.interceptor(key="conn-A")
        self.interceptor.data_received(C2S, REQUEST)
        self.interceptor.data_received(S2C, RESPONSE)

    def stories(self) -> list[str]:
        told, self.events = stories(self.events), []
        return told


CALL = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":1}}'


@pytest.mark.parametrize("cut", [10_000, 100])
@pytest.mark.parametrize(
    ("begin", "end"),
    [(b'{"jsonrpc":"2.0","id":1,"result":', b"}"), (b'{"result":', b',"jsonrpc":"2.0","id":1}')],
)
def test_an_answer_too_large_to_look_at_ends_its_call(begin: bytes, end: bytes, cut: int) -> None:
    wire = Wire(max_message_size=1000)
    wire.interceptor.data_received(C2S, frame(CALL))
    answer = frame(begin + b'{"x":"' + b"y" * 5000 + b'"}' + end, mask=False)
    for start in range(0, len(answer), cut):
        wire.interceptor.data_received(S2C, answer[start : start + cut])
    assert wire.stories() == ["session conn-A started", "call m", "call m completed"]


def test_what_cannot_be_followed_ends_what_is_open_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = Wire()
    wire.interceptor.data_received(C2S, frame(CALL))
    with caplog.at_level(logging.WARNING, "debbie_otel"):
        wire.interceptor.data_received(S2C, b"\xf7\x05 reserved bits")
        wire.interceptor.data_received(S2C, b"more")
        wire.interceptor.closed(None)
    assert wire.stories() == [
        "session conn-A started", "call m",
        "call m aborted connection_closed", "session conn-A ended: uninspected",
    ]  # fmt: skip
    assert [record.message for record in caplog.records] == [
        "conn-A passes uninspected from now on: a frame with reserved bits of no known extension"
    ]
    assert wire.monitor.connections == []


def test_messages_before_the_error_still_count() -> None:
    wire = Wire()
    wire.interceptor.data_received(
        C2S, frame(CALL) + frame(CALL.replace(b"1", b"2", 1)) + b"\xf7\x05"
    )
    assert wire.stories().count("call m") == 2
