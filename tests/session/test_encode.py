"""Messages of Debbie's own."""

from __future__ import annotations

import json

import pytest

from debbie_otel.session.encode import (
    encode_error,
    encode_id,
    encode_message,
    encode_result,
    stand_in,
)
from debbie_otel.session.message import MessageType, id_of, parse_head, parse_payload
from debbie_otel.wire.direction import MessageDirection


def test_messages_of_our_own() -> None:
    assert json.loads(encode_message("m", {"a": 1}, "x")) == {
        "jsonrpc": "2.0",
        "id": "x",
        "method": "m",
        "params": {"a": 1},
    }
    assert json.loads(encode_message("m", None, versioned=False)) == {"method": "m"}
    assert json.loads(encode_error(b"3", -1, "no", versioned=False)) == {
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


def test_an_answer_has_the_id_as_it_was_spelt() -> None:
    for raw_id in (b"0.1000000000000000055", b"1e400", b'"\\u0061\\/"', b"[1, 2]", b"null"):
        assert b'"id":' + raw_id in encode_error(raw_id, -1, "no")
        assert b'"id":' + raw_id in encode_result(raw_id, {"a": 1})


@pytest.mark.parametrize(
    "raw_id", [b"7", b'"debbie-1"', b"12345678901234567890123", b"0.5", b"null", b"true"]
)
def test_the_text_of_an_id(raw_id: bytes) -> None:
    assert encode_id(id_of(raw_id)) == raw_id
