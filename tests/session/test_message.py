from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debbie_otel.session.message import (
    ErrorObject,
    InterceptedMessage,
    MessageType,
    OddId,
    id_of,
    parse_head,
    parse_payload,
)
from debbie_otel.wire.direction import MessageDirection
from tests.session.json_text import Members, Text, spelt, values

C2S = MessageDirection.CLIENT_TO_SERVER
UNSET = msgspec.UNSET


def parse(payload: bytes) -> list[InterceptedMessage]:
    return parse_payload(payload, C2S, 7)


def one(payload: bytes) -> InterceptedMessage:
    (message,) = parse(payload)
    return message


@pytest.mark.parametrize(
    ("payload", "kind", "identifier"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"a"}', MessageType.REQUEST, 1),
        (b'{"id":"x","method":"a","params":[1]}', MessageType.REQUEST, "x"),
        (b'{"id":null,"method":"a"}', MessageType.REQUEST, None),
        (b'{"id":1.5,"method":"a"}', MessageType.REQUEST, Decimal("1.5")),
        (b'{"id":123456789012345678901234567890,"method":"a"}', MessageType.REQUEST, 123456789012345678901234567890),
        (b'{"id":true,"method":"a"}', MessageType.REQUEST, OddId("true")),
        (b'{"id":[1],"method":"a"}', MessageType.REQUEST, OddId("[1]")),
        (b'{"jsonrpc":"2.0","method":"a"}', MessageType.NOTIFICATION, UNSET),
        (b'{"id":1,"result":{}}', MessageType.RESPONSE, 1),
        (b'{"id":1,"result":null}', MessageType.RESPONSE, 1),
        (b'{"id":1,"result":null,"error":null}', MessageType.RESPONSE, 1),
        (b'{"id":1,"result":5,"error":null}', MessageType.RESPONSE, 1),
        (b'{"id":1,"error":{"code":-1,"message":"m"}}', MessageType.ERROR, 1),
        (b'{"error":"Unknown command: nope","id":23}', MessageType.ERROR, 23),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}', MessageType.ERROR, None),
        (b'{"result":1}', MessageType.RESPONSE, UNSET),
        (b'{"id":1}', MessageType.UNKNOWN, 1),
        (b'{"id":1,"method":5}', MessageType.UNKNOWN, UNSET),
        (b"{}", MessageType.UNKNOWN, UNSET),
        (b"[]", MessageType.UNKNOWN, UNSET),
        (b"", MessageType.UNKNOWN, UNSET),
        (b"not json", MessageType.UNKNOWN, UNSET),
        (b"5", MessageType.UNKNOWN, UNSET),
        (b'{"method":"a"', MessageType.UNKNOWN, UNSET),
        (b"\xff\xfe", MessageType.UNKNOWN, UNSET),
    ],
)  # fmt: skip
def test_a_message_is_what_its_members_say(
    payload: bytes, kind: MessageType, identifier: Any
) -> None:
    message = one(payload)
    assert message.type is kind
    assert message.id == identifier
    assert type(message.id) is type(identifier)
    assert message.size == len(payload)
    assert message.time_ns == 7


def test_members_are_decoded_on_demand() -> None:
    message = one(b'{"id":1,"method":"a","params":{"b":[1,null]}}')
    assert message.decoded("params") == {"b": [1, None]}
    assert message.decoded("result") is None
    assert not message.versioned
    assert one(b'{"jsonrpc":"2.0","method":"a"}').versioned


def test_a_batch_is_its_entries_each_with_its_own_size() -> None:
    entries = [b'{"method":"a"}', b'{"id":1,"method":"b"}', b'{"id":{},"result":1}', b"5"]
    messages = parse(b"[" + b",".join(entries) + b"]")
    assert [message.type.value for message in messages] == [
        "notification", "request", "response", "unknown",
    ]  # fmt: skip
    assert [message.size for message in messages] == [len(entry) for entry in entries]


@pytest.mark.parametrize(
    ("payload", "method"),
    [
        (b'{"id":1,"method":"nan","params":[NaN,Infinity,-Infinity]}', "nan"),
        (b'{"id":1,"method":"huge","params":[1e400]}', "huge"),
        (b'{"id":1,"method":"twice","method":"again"}', "again"),
        (b'{"id":1,"method":"lone \\ud800 surrogate"}', "lone ? surrogate"),
    ],
)
def test_what_only_some_parsers_accept_still_counts(payload: bytes, method: str) -> None:
    message = one(payload)
    assert message.type is MessageType.REQUEST
    assert message.method == method
    assert message.method.encode()


def test_deep_nesting_is_unknown_and_nothing_more() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert one(deep).type is MessageType.UNKNOWN
    assert one(b'{"method":"a","params":' + deep + b"}").type is MessageType.UNKNOWN


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (b'{"code":-32601,"message":"no"}', ErrorObject(-32601, "no")),
        (b'{"code":"E1","message":5}', ErrorObject(None, "")),
        (b'{"code":true}', ErrorObject(None, "")),
        (b'"text"', ErrorObject(None, "text")),
        (b"[1]", ErrorObject(None, "")),
    ],
)
def test_errors_of_any_shape(error: bytes, expected: ErrorObject) -> None:
    assert one(b'{"id":1,"error":' + error + b"}").error_object() == expected


BIG = "x" * 5000


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"a": BIG}}, MessageType.REQUEST),
        ({"id": "q", "method": "m", "params": [BIG]}, MessageType.REQUEST),
        ({"id": 1, "method": "m", "params": {"a": BIG}, "more": 1}, MessageType.REQUEST),
        ({"method": "m", "params": {"a": BIG}, "id": 1}, MessageType.REQUEST),
        ({"method": "m", "params": {"a": BIG}}, MessageType.NOTIFICATION),
        ({"jsonrpc": "2.0", "id": 1, "result": {"a": BIG}}, MessageType.RESPONSE),
        ({"id": 1, "result": {"a": BIG}, "error": None}, MessageType.RESPONSE),
        ({"id": 1, "result": BIG}, MessageType.RESPONSE),
        ({"id": 1, "result": None, "error": {"code": 1, "message": BIG}}, MessageType.ERROR),
        ({"id": 1, "error": {"code": 1, "message": BIG}}, MessageType.ERROR),
        ({"id": "ä" + BIG, "method": "m", "params": {}}, MessageType.REQUEST),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", " :\t")])
def test_big_messages_are_told_like_small_ones(
    message: dict[str, Any], kind: MessageType, separators: tuple[str, str]
) -> None:
    found = one(json.dumps(message, separators=separators).encode())
    assert found.type is kind
    assert found.id == message.get("id", UNSET)
    assert found.method == message.get("method")
    for member in ("params", "result", "error"):
        assert found.decoded(member) == message.get(member)


@given(st.binary(max_size=300))
def test_any_bytes_give_messages(payload: bytes) -> None:
    assert parse(payload)


json_values = values | st.just(float("nan"))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": json_values,
            "id": json_values,
            "method": json_values | st.text(),
            "params": json_values,
            "result": json_values,
            "error": json_values,
        },
    )
)
def test_any_envelope_is_told_by_the_rules(envelope: dict[str, Any]) -> None:
    message = one(json.dumps(envelope).encode())
    if isinstance(envelope.get("method"), str):
        expected = MessageType.REQUEST if "id" in envelope else MessageType.NOTIFICATION
    elif envelope.get("method") is not None:
        expected = MessageType.UNKNOWN
    elif envelope.get("error") is not None:
        expected = MessageType.ERROR
    else:
        expected = MessageType.RESPONSE if "result" in envelope else MessageType.UNKNOWN
    assert message.type is expected
    message.error_object()
    for member in ("params", "result", "error"):
        message.decoded(member)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":"xxx', MessageType.REQUEST),
        (b'{"jsonrpc":"2.0","id":7,"result":{"a":"xxx', MessageType.RESPONSE),
    ],
)
def test_the_beginning_of_a_message_may_tell_what_it_is(head: bytes, kind: MessageType) -> None:
    message = parse_head(head, 10**8, C2S, 7)
    assert message is not None
    assert (message.type, message.id, message.size) == (kind, 7, 10**8)
    assert message.decoded("params") is None


@pytest.mark.parametrize(
    ("head", "tail", "kind", "call_id"),
    [
        (b'{"result":{"a":"x', b'x"},"jsonrpc":"2.0","id":7}', MessageType.RESPONSE, 7),
        (b'{"jsonrpc":"2.0","result":[1', b' ] , "id" : "a-b" } ', MessageType.RESPONSE, "a-b"),
        (
            b'{"method":"m","params":{"a":"x',
            b'x"},"id":7,"jsonrpc":"2.0"}',
            MessageType.REQUEST,
            7,
        ),
        (b'{"id":"7","jsonrpc":"2.0","result":"x', b"", MessageType.RESPONSE, "7"),
    ],
)
def test_the_id_may_come_at_the_end(
    head: bytes, tail: bytes, kind: MessageType, call_id: object
) -> None:
    """The MCP SDK for TypeScript, rpc-websockets and others write it there."""
    message = parse_head(head, 10**8, C2S, 7, tail)
    assert message is not None
    assert (message.type, message.id, message.versioned) == (kind, call_id, True)
    assert message.method == ("m" if kind is MessageType.REQUEST else None)


@pytest.mark.parametrize(
    "tail",
    [
        b'x","id":7}}',  # of an object inside
        b'x\\",\\"id\\":7"}',  # within a string
        b'"},"id":{"a":7}}',
        b'"},"id":7}]',  # of a batch
        b'"}}',
        b"",
    ],
)
def test_an_end_without_the_id_is_left_alone(tail: bytes) -> None:
    assert parse_head(b'{"jsonrpc":"2.0","result":{"a":"x', 1, C2S, 7, tail) is None


def test_a_beginning_that_does_not_tell_is_left_alone() -> None:
    assert parse_head(b'{"result":{"a":"xxx', 1, C2S, 7) is None
    assert parse_head(b"\x00\x01", 1, C2S, 7) is None


def spelt_members(pairs: list[tuple[str, str]], chance: random.Random) -> bytes:
    written = Members(*[(name, Text(text)) for name, text in pairs])
    return spelt(written, chance).encode("utf-8", "surrogatepass")


padding = st.sampled_from([0, 100, 2030, 5000, 70_000]).flatmap(
    lambda size: st.sampled_from(["x", '{"id":7,', '"}},"id":2}', "\\", "ä\n"]).map(
        lambda part: (part * size)[:size]
    )
)
bodies = st.tuples(values, padding, st.randoms(use_true_random=False)).map(
    lambda drawn: spelt([drawn[0], {"id": 3, "pad": drawn[1]}], drawn[2])
)
members = st.one_of(
    st.tuples(st.just("jsonrpc"), st.just('"2.0"')),
    st.tuples(st.just("id"), st.sampled_from(["1", '"a\\u0062"', "0.1000000000000000055", "null"])),
    st.tuples(st.just("method"), st.sampled_from(['"m"', '"tools\\/call"', "null"])),
    st.tuples(st.sampled_from(["params", "result"]), bodies),
    st.tuples(st.just("error"), bodies | st.just("null")),
    st.tuples(st.sampled_from(["trace", "emittedAtMs", "Id", "\\"]), bodies | st.just("5")),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(members, max_size=8), st.randoms(use_true_random=False))
def test_a_message_of_any_size_and_order_is_what_decoding_it_all_gives(
    pairs: list[tuple[str, str]], chance: random.Random
) -> None:
    message = one(spelt_members(pairs, chance))
    written = dict(pairs)  # of a member that occurs twice, the last counts
    method = json.loads(written.get("method", "null"))
    if method is not None:
        expected = MessageType.REQUEST if "id" in written else MessageType.NOTIFICATION
    elif written.get("error", "null") != "null":
        expected = MessageType.ERROR
    else:
        expected = MessageType.RESPONSE if "result" in written else MessageType.UNKNOWN
    assert (message.type, message.method) == (expected, method)
    assert message.versioned is ("jsonrpc" in written)
    for member, raw in (
        ("id", message.raw_id),
        ("params", message.params),
        ("result", message.result),
        ("error", message.error),
    ):
        spelling = written.get(member)
        assert (None if raw is None else bytes(raw)) == (spelling and spelling.encode())
    assert message.id == (id_of(written["id"].encode()) if "id" in written else UNSET)


@pytest.mark.parametrize("size", [10, 3000])
def test_members_may_follow_params(size: int) -> None:
    """As Codex has it: id, method, params, trace."""
    params = b'{"name":"t","arguments":{"x":"' + b"a" * size + b'"}}'
    message = one(b'{"id":1,"method":"tools/call","params":' + params + b',"jsonrpc":"2.0"}')
    assert message.versioned
    assert bytes(message.params or b"") == params


@pytest.mark.parametrize(
    ("one_id", "other", "same"),
    [
        (b"1", b'"1"', False),
        (b"1", b"1.0", True),
        (b"1", b"1e0", True),
        (b"0.1", b"0.1000000000000000055", False),
        (b"9007199254740993", b"9007199254740992", False),
        (b"9007199254740993", b"9007199254740993.0", True),
        (b"1e400", b"1e401", False),
        (b"1e400", b"10e399", True),
        (b"1e99999999999999999999", b"1e99999999999999999998", False),
        (b"9" * 5000, b"9" * 4999 + b"8", False),
        (b"9" * 5000, b"9" * 5000, True),
        (b'"\\u0061\\/"', b'"a/"', True),
        (b"true", b"1", False),
        (b"null", b'"null"', False),
        (b"[1, 2]", b"[1,2]", True),
        (b'"\\u0000true"', b"true", False),
        (b'"\\ud800"', b'"\\ud801"', False),
        (b'"\\ud800"', b'"?"', False),
    ],
)
def test_ids_are_compared_by_their_exact_value(one_id: bytes, other: bytes, same: bool) -> None:
    first, second = (one(b'{"result":1,"id":' + raw + b"}") for raw in (one_id, other))
    assert (first.id == second.id) is same
    assert same is (len({first.id, second.id}) == 1)
    assert bytes(first.raw_id or b"") == one_id
    assert str(first.id).encode()


def test_members_of_odd_messages_are_as_they_were_written() -> None:
    message = one(b'{"id":1.50,"method":"m","params":[NaN, 1.10],"result":1e999}')
    assert (bytes(message.params or b""), bytes(message.raw_id or b"")) == (b"[NaN, 1.10]", b"1.50")
    first, second = parse(b'[{"id":1e400,"result":[NaN]}, {"id":2,"result":0 }]')
    assert (bytes(first.raw_id or b""), bytes(first.result or b"")) == (b"1e400", b"[NaN]")
    assert first.payload == b'{"id":1e400,"result":[NaN]}'
    assert second.payload == b'{"id":2,"result":0 }'
