"""Requests that wait for their response."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from debbie_otel.session import events as ev
from debbie_otel.session.directory import Limits
from tests.play import C2S, S2C, Play


def lines_run(step: Callable[[], object]) -> int:
    """Return how many lines of Python a step runs: a cost that does not depend on the machine."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("dialect", ["mcp", "acp", "codex"])
def test_a_round_trip_costs_the_same_however_many_are_in_flight(dialect: str, equal: bool) -> None:
    def cost(in_flight: int) -> int:
        stage = Play(dialect)

        def ask(number: int) -> None:
            call_id = 1 if equal else number
            token = b"5" if equal else b"%d" % number
            stage.send(
                C2S,
                b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"t",'
                b'"_meta":{"progressToken":%s}}}' % (call_id, token),
            )

        def round_trip(number: int) -> None:
            ask(number)
            progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":%s}'
            stage.send(S2C, progress % b'{"progressToken":5}')
            stage.send(S2C, b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}')
            call_id = 1 if equal else number
            stage.send(S2C, b'{"jsonrpc":"2.0","id":%d,"result":{}}' % call_id)

        for number in range(1, in_flight + 1):
            ask(number)
        round_trip(in_flight + 1)
        return lines_run(lambda: round_trip(in_flight + 2))

    assert cost(256) <= 1.1 * cost(1)


def test_progress_finds_the_latest_of_equal_tokens_and_then_the_one_before() -> None:
    stage = Play("mcp")
    call = (
        '>> {"jsonrpc":"2.0","id":%d,"method":"tools/call",'
        '"params":{"name":"t","_meta":{"progressToken":%s}}}'
    )
    progress = (
        '<< {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s}}'
    )
    stage.play(
        "\n".join(
            [
                call % (1, 7),
                call % (2, '"7"'),
                progress % 7,
                call % (3, 7),
                progress % 7,
                '<< {"jsonrpc":"2.0","id":3,"result":{}}',
                progress % 7,
                progress % '"7"',
                '<< {"jsonrpc":"2.0","id":1,"result":{}}',
                progress % 7,
                progress % "[7]",
            ]
        )
    )
    found = [
        event.call and event.call.id
        for event in stage.of(ev.NotificationSeen)
        if event.message.method == "notifications/progress"
    ]
    assert found == [1, 3, 1, 2, None, None]


@pytest.mark.parametrize("equal", [False, True])
def test_open_requests_are_bounded_however_their_ids_are(equal: bool) -> None:
    stage = Play("generic", Limits(pending_calls=10))
    for number in range(30):
        stage.send(C2S, b'{"id":%d,"method":"m%d"}' % (number % 3 if equal else number, number))
    assert stage.connection.open_calls()[0] == 10
    assert len(stage.connection.pending_calls) == 10
    assert len(stage.of(ev.CallEnded)) == 20
    if not equal:
        assert stage.connection.pending_calls[0].method == "m20"


def test_the_oldest_request_is_known_in_both_directions() -> None:
    stage = Play("generic")
    assert stage.connection.open_calls() == (0, None)
    stage.play('+1\n>> {"id":1,"method":"a"}\n+1\n<< {"id":1,"method":"b"}\n+1')
    assert stage.connection.open_calls() == (2, 10**9)
    stage.play('<< {"id":1,"result":0}')
    assert stage.connection.open_calls() == (1, 2 * 10**9)


def test_a_late_answer_to_a_cancelled_request_is_known_once() -> None:
    stage = Play("mcp")
    stage.play(
        """
        >> {"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"t"}}
        >> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}
        << {"jsonrpc":"2.0","id":4,"error":{"code":0,"message":"cancelled"}}
        << {"jsonrpc":"2.0","id":4,"error":{"code":0,"message":"again"}}
        """
    )
    assert [event.cancelled for event in stage.of(ev.StraySeen)] == ["tools/call", None]
