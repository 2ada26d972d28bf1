"""The way to a live session, and what finding it costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from debbie_otel.app.config import Config, ProxyConfig, TelemetryConfig
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.intervention.channel import Channel
from debbie_otel.wire.direction import MessageDirection

C2S, S2C = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT


class NoChannel:
    """Stands for the way to act on a connection, where nobody acts."""


def connected(debbie: DebbieDebugger, session_id: str) -> WebSocketInterceptor:
    """A connection with a session that its client began, and a way to act on it."""
    interceptor = debbie.interceptor()
    interceptor.channel = cast(Channel, NoChannel())
    start = '{"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}'
    started = '{"jsonrpc":"2.0","id":1,"result":{"sessionId":"%s","status":1}}'
    interceptor.message_received(C2S, start.encode(), 1)
    interceptor.message_received(S2C, (started % session_id).encode(), 2)
    return interceptor


def join(debbie: DebbieDebugger, session_id: str) -> WebSocketInterceptor:
    """A connection on which the server speaks of a session that another one began."""
    interceptor = debbie.interceptor()
    interceptor.channel = cast(Channel, NoChannel())
    changed = {"jsonrpc": "2.0", "method": "stateChanged", "params": {"sessionId": session_id}}
    interceptor.message_received(S2C, json.dumps(changed).encode(), 3)
    return interceptor


def ask(interceptor: WebSocketInterceptor, session_id: str, number: int) -> None:
    """Have the client ask for a turn that is not answered."""
    params = {"sessionId": session_id, "message": "hi"}
    call = {"jsonrpc": "2.0", "id": number, "method": "sendUserMessage", "params": params}
    interceptor.message_received(C2S, json.dumps(call).encode(), 10 + number)


@pytest.fixture
def debbie(tmp_path: Path) -> DebbieDebugger:
    config = Config(
        proxy=ProxyConfig(dialect="aiwhisperer"), telemetry=TelemetryConfig(data_dir=tmp_path)
    )
    return DebbieDebugger(config, environ={}, telemetry=False, reports=False)


def operations(call: Callable[[], object]) -> int:
    """Count the function calls that a call makes, those of C too."""
    count = 0

    def profile(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


def test_the_cost_of_reaching_a_session_is_that_of_its_own_connections(
    debbie: DebbieDebugger,
) -> None:
    first = connected(debbie, "s-0")
    ask(first, "s-0", 2)
    debbie.reach("s-0")  # what is only done once is done
    alone = operations(lambda: debbie.reach("s-0"))
    for number in range(1, 1001):
        connected(debbie, f"s-{number}")
    assert len(debbie.interceptors) == 1001
    assert operations(lambda: debbie.reach("s-0")) == alone
    assert operations(lambda: debbie.reach("nobody")) <= alone
    reach = debbie.reach("s-0")
    assert reach is not None
    assert reach.connection is first.connection


def test_of_connections_that_share_a_session_the_one_on_which_a_client_waits_is_reached(
    debbie: DebbieDebugger,
) -> None:
    first = connected(debbie, "s-1")
    second = join(debbie, "s-1")
    third = join(debbie, "s-1")
    reach = debbie.reach("s-1")
    assert reach is not None
    assert reach.connection is first.connection  # its client has begun it, the others hear of it
    ask(second, "s-1", 2)
    reach = debbie.reach("s-1")
    assert reach is not None
    assert reach.connection is second.connection
    third.close(100, "disconnected")
    second.close(100, "disconnected")
    reach = debbie.reach("s-1")
    assert reach is not None
    assert reach.connection is first.connection
    first.close(100, "disconnected")
    assert debbie.reach("s-1") is None


def test_a_session_without_a_way_to_act_on_it_is_not_reached(debbie: DebbieDebugger) -> None:
    connected(debbie, "s-1").channel = None
    assert debbie.reach("s-1") is None
