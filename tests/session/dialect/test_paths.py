"""Places in messages, and conditions on what is there."""

from __future__ import annotations

from decimal import Decimal

import pytest

from debbie_otel.session.dialect.paths import Fields
from debbie_otel.session.message import JsonRpcId, OddId
from tests.session.parsing import message


def test_paths_lead_through_objects_and_lists() -> None:
    fields = Fields(message(b'{"method":"m","params":{"a":[{"b":1},{"b":null}],"c":"x"}}'))
    assert fields.get("params.a.0.b", "gone") == 1
    assert fields.get("params.a.1.b", "gone") is None
    assert fields.get("params.a.2.b", "gone") == "gone"
    assert fields.get("params.c.d", "gone") == "gone"
    assert fields.get("result.c", "gone") == "gone"
    assert fields.first(["params.a.1.b", "params.c"]) == "x"
    assert fields.text("params.a.0.b") == "1"
    assert fields.text("params.a") is None
    assert fields.gather({"one": "params.c", "none": "params.z"}) == {"one": "x"}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"params.s": "text"}, True),
        ({"params.s": ["other", "text"]}, True),
        ({"params.s": ["other"]}, False),
        ({"params.n": "$null"}, True),
        ({"params.gone": "$null"}, False),
        ({"params.gone": "$absent"}, True),
        ({"params.n": "$absent"}, False),
        ({"params.n": "$present"}, False),
        ({"params.e": "$empty"}, True),
        ({"params.gone": "$empty"}, False),
        ({"params.s": "$nonempty"}, True),
        ({"params.i": "$integer"}, True),
        ({"params.t": "$integer"}, False),
        ({"params.t": "$true"}, True),
        ({"params.s": "$string", "params.i": "$string"}, False),
        ({}, True),
    ],
)
def test_conditions(condition: dict[str, object], holds: bool) -> None:
    payload = b'{"method":"m","params":{"s":"text","n":null,"e":[],"i":1,"t":true}}'
    assert Fields(message(payload)).holds(condition) is holds


@pytest.mark.parametrize("more", ["1", "NaN"])
def test_a_path_may_begin_with_any_member(more: str) -> None:
    fields = Fields(message(f'{{"id":7,"method":"m","trace":{{"a":[1]}},"x":{more}}}'.encode()))
    assert fields.get("trace.a.0", None) == 1
    assert fields.text("method") == "m"
    assert fields.get("payload", None) is None
    assert fields.get("nothing.a", "missing") == "missing"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"7", 7),
        (b'"7"', "7"),
        (b"0.1000000000000000055", Decimal("0.1000000000000000055")),
        (b"true", OddId("true")),
        (b"null", None),
    ],
)
def test_the_id_of_a_request_has_all_its_digits(value: bytes, found: JsonRpcId) -> None:
    fields = Fields(message(b'{"method":"m","params":{"requestId":' + value + b"}}"))
    assert fields.request_id(["params.none", "params.requestId"]) == found
