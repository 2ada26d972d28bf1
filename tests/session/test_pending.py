"""Requests that wait for their response."""

from __future__ import annotations

import pytest

from debbie_otel.session import events as ev
from debbie_otel.session.directory import Limits
from tests.play import C2S, S2C, Play
from tests.session.cost import lines_run
from tests.session.openings import MCP_ASK, MCP_LOG, MCP_PROGRESS, MCP_TOOL


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


def test_requests_with_the_same_id_are_answered_in_order() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":1,"method":"first"}
        >> {"id":1,"method":"second"}
        >> {"id":1,"method":"third"}
        << {"id":1,"result":0}
        << {"id":1,"result":0}
        """
    )
    assert [event.call.method for event in stage.of(ev.CallEnded)] == ["first", "second"]
    assert [call.method for call in stage.connection.pending_calls] == ["third"]


def test_open_calls_are_bounded() -> None:
    stage = Play("generic", Limits(pending_calls=3))
    for number in range(5):
        stage.play(f'>> {{"id":{number},"method":"m{number}"}}')
    for _ in range(5):
        stage.play('>> {"id":"same","method":"s"}')
    assert len(stage.connection.pending_calls) <= 2 * 3
    assert {e.call.error_type for e in stage.of(ev.CallEnded)} == {"evicted"}


def test_mcp_progress_is_part_of_the_call_whose_token_it_has() -> None:
    stage = Play("mcp")
    for number, tool, token in ((1, "a", "1"), (2, "b", '"1"'), (3, "c", "2")):
        stage.play(MCP_TOOL % (number, tool, token))
    for token in ('"1"', "1", "2", "3", "null", "true", "[1]"):
        stage.play(MCP_PROGRESS % token)
    calls = [event.call for event in stage.of(ev.NotificationSeen)]
    tools = [call and call.tool and call.tool.name for call in calls]
    assert tools == ["b", "a", "c", None, None, None, None]


def test_mcp_what_a_server_asks_and_logs_while_it_runs_one_tool_is_part_of_that() -> None:
    stage = Play("mcp")
    stage.play(f"{MCP_LOG}\n{MCP_TOOL % (1, 'a', 'null')}\n{MCP_LOG}\n{MCP_ASK % 1}")
    stage.play(f"{MCP_TOOL % (2, 'b', 'null')}\n{MCP_LOG}\n{MCP_ASK % 2}")
    logs = [event.call and event.call.id for event in stage.of(ev.NotificationSeen)]
    assert logs == [None, 1, None]
    asked = [e.call.part_of for e in stage.of(ev.CallStarted) if e.call.tool is None]
    assert [call and call.id for call in asked] == [1, None]


def test_mcp_cancelled_request_gets_no_answer() -> None:
    stage = Play("mcp")
    stage.play('>> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}')
    assert stage.play(
        '>> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'
    ) == [
        "notification notifications/cancelled",
        "tool add cancelled", "call tools/call cancelled cancelled",
    ]  # fmt: skip
    assert stage.connection.pending_calls == []


def test_mcp_an_answer_to_a_cancelled_request_is_known_as_late_but_once() -> None:
    stage = Play("mcp")
    stage.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}
        >> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}
        << {"jsonrpc":"2.0","id":1,"error":{"code":0,"message":"Request cancelled"}}
        << {"jsonrpc":"2.0","id":1,"error":{"code":0,"message":"Request cancelled"}}
        << {"jsonrpc":"2.0","id":{"a":1},"result":{}}
        """
    )
    assert [e.cancelled for e in stage.of(ev.StraySeen)] == ["tools/call", None, None]
    assert stage.connection.session.info.errors == 0
