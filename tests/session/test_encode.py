"""Messages of our own, and small changes to those of others."""

from __future__ import annotations

import json

import pytest

from debbie_otel.session.encode import (
    encode_error,
    encode_message,
    members_of_batch,
    stand_in,
    with_id,
)
from debbie_otel.session.message import MessageType, parse_head, parse_payload
from debbie_otel.wire.direction import MessageDirection


def test_messages_of_our_own() -> None:
    assert json.loads(encode_message("m", {"a": 1}, "x")) == {
        "jsonrpc": "2.0",
        "id": "x",
        "method": "m",
        "params": {"a": 1},
    }
    assert json.loads(encode_message("m", None, versioned=False)) == {"method": "m"}
    assert json.loads(encode_error(3, -1, "no", versioned=False)) == {
        "id": 3,
        "error": {"code": -1, "message": "no"},
    }


@pytest.mark.parametrize(
    "head",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":"xxx',
        b'{"id":"a-b","result":{"a":"xxx',
    ],
)
def test_a_stand_in_is_what_it_stands_for(head: bytes) -> None:
    large = parse_head(head, 10**8, MessageDirection.CLIENT_TO_SERVER, 0)
    assert large is not None
    (small,) = parse_payload(stand_in(large), MessageDirection.CLIENT_TO_SERVER, 0)
    assert (small.type, small.id, small.method, small.versioned) == (
        large.type,
        large.id,
        large.method,
        large.versioned,
    )
    body = "params" if small.type is MessageType.REQUEST else "result"
    assert small.decoded(body) == {"left_out": "100000000 bytes on the wire"}


@pytest.mark.parametrize("call_id", [0, "x", None, 1.5])
def test_only_the_id_changes(call_id: object) -> None:
    payload = b'{"jsonrpc":"2.0","result":{"n":1.10,"s":"\\u00e9"},"id":"ours","emittedAtMs":1}'
    changed = with_id(payload, call_id)  # type: ignore[arg-type]
    assert json.loads(changed) == json.loads(payload) | {"id": call_id}
    assert b'{"n":1.10,"s":"\\u00e9"}' in changed


def test_an_id_of_a_forbidden_type_comes_back_as_it_was() -> None:
    (message,) = parse_payload(
        b'{"id":[1,2],"method":"m","params":{}}', MessageDirection.CLIENT_TO_SERVER, 0
    )
    assert isinstance(message.id, str)
    assert json.loads(with_id(b'{"id":"ours","result":1}', message.id)) == {
        "id": [1, 2],
        "result": 1,
    }
    assert json.loads(encode_error(message.id, -1, "no"))["id"] == [1, 2]


def test_json_that_only_python_accepts() -> None:
    assert json.loads(with_id(b'{"id":"ours","result":NaN}', 1))["id"] == 1
    assert members_of_batch(b'[{"a":NaN}]') == [b'{"a": NaN}']


def test_members_of_a_batch_are_as_they_were() -> None:
    assert members_of_batch(b' [ {"a": 1.0} , {"b":2}]') == [b'{"a": 1.0}', b'{"b":2}']
    assert members_of_batch(b'{"a":1}') == []
    assert members_of_batch(b"no json") == []
