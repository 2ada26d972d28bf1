"""Requests, their responses, and what of both directions is counted, as wire transcripts."""

from __future__ import annotations

import pytest

from debbie_otel.session import events as ev
from debbie_otel.session.directory import Limits
from tests.play import SECOND, Play


def test_a_response_ends_its_request() -> None:
    stage = Play("generic")
    assert stage.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}
        +0.25
        << {"jsonrpc":"2.0","id":1,"result":3}
        """
    ) == ["session conn-A started", "call add", "call add completed"]
    (ended,) = stage.of(ev.CallEnded)
    assert ended.call.ended_ns == ended.call.started_ns + SECOND // 4
    assert ended.call.versioned
    assert stage.connection.pending_calls == []


def test_ids_of_both_directions_never_meet() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":0,"method":"from client"}
        << {"id":0,"method":"from server"}
        >> {"id":0,"result":"of server's"}
        """
    )
    (ended,) = stage.of(ev.CallEnded)
    assert ended.call.method == "from server"
    assert [call.method for call in stage.connection.pending_calls] == ["from client"]


def test_ids_of_two_connections_never_meet() -> None:
    stage = Play("generic")
    stage.play(
        """
        conn A
        >> {"id":1,"method":"a"}
        conn B
        >> {"id":1,"method":"b"}
        << {"id":1,"result":0}
        """
    )
    (ended,) = stage.of(ev.CallEnded)
    assert ended.call.method == "b"


def test_ids_of_all_kinds_are_told_apart() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":1,"method":"int"}
        >> {"id":"1","method":"string"}
        >> {"id":1.5,"method":"float"}
        >> {"id":null,"method":"null"}
        >> {"id":true,"method":"bool"}
        << {"id":true,"result":0}
        << {"id":null,"result":0}
        << {"id":1.5,"result":0}
        << {"id":"1","result":0}
        << {"id":1,"result":0}
        """
    )
    ended = [event.call.method for event in stage.of(ev.CallEnded)]
    assert ended == ["bool", "null", "float", "string", "int"]
    assert stage.of(ev.StraySeen) == []


def test_ids_never_pass_through_doubles() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> {"id":0.1000000000000000055,"method":"long"}
        >> {"id":0.1,"method":"short"}
        >> {"id":1e400,"method":"huge"}
        >> {"id":"caf\\u00e9\\/","method":"escaped"}
        >> {"id":7,"method":"whole"}
        << {"id":0.1,"result":0}
        << {"id":10e399,"result":0}
        << {"id":"café/","result":0}
        << {"id":7.0,"result":0}
        << {"id":0.1000000000000000055,"result":0}
        """
    )
    ended = [(event.call.method, bytes(event.call.raw_id)) for event in stage.of(ev.CallEnded)]
    assert ended == [
        ("short", b"0.1"),
        ("huge", b"1e400"),
        ("escaped", b'"caf\\u00e9\\/"'),
        ("whole", b"7"),
        ("long", b"0.1000000000000000055"),
    ]
    assert stage.of(ev.StraySeen) == []


def test_a_cancelled_request_is_known_by_its_exact_id() -> None:
    stage = Play("mcp")
    stage.play(
        """
        >> {"jsonrpc":"2.0","id":0.1,"method":"tools/list"}
        >> {"jsonrpc":"2.0","id":0.1000000000000000055,"method":"tools/call","params":{"name":"t"}}
        >> {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0.1000000000000000055}}
        """
    )
    (ended,) = stage.of(ev.CallEnded)
    assert (ended.call.method, ended.call.outcome) == ("tools/call", "cancelled")


def test_one_odd_message_does_not_change_how_debbie_speaks() -> None:
    stage = Play("generic")
    exchange = '>> {"jsonrpc":"2.0","id":%d,"method":"m"}\n<< {"jsonrpc":"2.0","id":%d,"result":0}'
    stage.play("\n".join(exchange % (number, number) for number in range(3)))
    stage.play('>> {"id":"odd","method":"m"}\n<< {"id":"odd","error":{"code":-32600}}')
    assert (stage.connection.versioned, stage.connection.numbered) == (True, True)


def test_debbie_speaks_as_most_of_the_messages_do() -> None:
    stage = Play("generic")
    assert (stage.connection.versioned, stage.connection.numbered) == (True, False)
    stage.play('>> {"id":"a","method":"m"}\n<< {"id":"a","result":0}\n>> {"method":"n"}')
    assert (stage.connection.versioned, stage.connection.numbered) == (False, False)


@pytest.mark.parametrize(("dialect", "versioned"), [("codex", False), ("mcp", True)])
def test_the_dialect_says_whether_messages_have_a_version(dialect: str, versioned: bool) -> None:
    stage = Play(dialect)
    member = "" if versioned else '"jsonrpc":"2.0",'
    stage.play("\n".join(f'>> {{{member}"id":{number},"method":"m"}}' for number in range(3)))
    assert stage.connection.versioned is versioned


def test_responses_that_nobody_asked_for_are_strays() -> None:
    stage = Play("generic")
    assert stage.play(
        """
        << {"id":9,"result":0}
        << {"id":null,"error":{"code":-32700,"message":"Parse error"}}
        << {"id":{"a":1},"result":0}
        << {"result":0}
        >> no json
        """
    ) == [
        "session conn-A started",
        "stray response", "stray error", "stray response", "stray response", "stray unknown",
    ]  # fmt: skip
    assert len(stage.of(ev.MessageSeen)) == 5


def test_a_batch_counts_each_of_its_messages() -> None:
    stage = Play("generic")
    stage.play(
        """
        >> [{"id":1,"method":"a"},{"method":"n"},{"id":2,"method":"b"}]
        << [{"id":2,"result":0},{"id":1,"error":{"code":-1,"message":"no"}}]
        """
    )
    assert len(stage.of(ev.MessageSeen)) == 5
    ended = [(event.call.method, event.call.error_code) for event in stage.of(ev.CallEnded)]
    assert ended == [("b", None), ("a", -1)]


def test_a_connection_that_ends_aborts_what_is_open() -> None:
    stage = Play("generic")
    stage.play('>> {"id":1,"method":"a"}')
    assert stage.close() == [
        "call a aborted connection_closed",
        "session conn-A ended: disconnected",
    ]


def test_calls_are_given_up_after_the_limit() -> None:
    stage = Play("generic", Limits(call_timeout_ns=5 * SECOND))
    stage.play(
        """
        >> {"id":1,"method":"old"}
        +4
        >> {"id":2,"method":"young"}
        """
    )
    out: list[ev.Event] = []
    stage.connection.expire(6 * SECOND, out)
    assert [event.call.error_type for event in out if isinstance(event, ev.CallEnded)] == [
        "timeout"
    ]
    assert [call.method for call in stage.connection.pending_calls] == ["young"]


def test_the_callers_trace_context_is_read() -> None:
    stage = Play("mcp")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
    stage.play(
        f'>> {{"id":1,"method":"ping","params":{{"_meta":{{"traceparent":"{parent}"}}}}}}'
        '\n>> {"id":2,"method":"ping","params":{"_meta":{"traceparent":5}}}'
    )
    first, second = stage.connection.pending_calls
    assert first.trace is not None
    assert first.trace.traceparent == parent
    assert second.trace is None
