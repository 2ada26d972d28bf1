"""Values of a message that change while all its other bytes stay."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.session.edit import (
    change_string,
    members_of_batch,
    raw_value,
    rename_strings,
    top_level_members,
    with_id,
)
from tests.session.json_text import Members, Text, spelt, values

chances = st.randoms(use_true_random=False)


def spelt_with(mark: str, inside: Any, chance: random.Random) -> tuple[bytes, bytes]:
    """Return what is before and after the mark in the text of a value."""
    before, _, after = spelt(inside, chance).partition(mark)
    return (
        before.encode("utf-8", "surrogatepass"),
        after.encode("utf-8", "surrogatepass"),
    )


@given(
    st.lists(st.tuples(st.sampled_from(["a", "params", "\\", 'i"d', "ids"]), values), max_size=4),
    st.lists(st.tuples(st.text(), values), max_size=3),
    st.sampled_from(["1", '"a\\u0062"', "0.1000000000000000055", "null", "[ 1 ]", '"}"', '"\\\\"']),
    st.sampled_from(["7", '"x\\/y"', "1e400", "-0"]),
    chances,
)
def test_only_the_id_changes(
    front: list[tuple[str, Any]],
    back: list[tuple[str, Any]],
    old: str,
    new: str,
    chance: random.Random,
) -> None:
    back = [pair for pair in back if pair[0] != "id"]
    nested = ("nested", {"id": 1, "more": [{"id": "x"}]})
    message = Members(*front, ("id", Text("MARK" + "HERE")), nested, *back)
    before, after = spelt_with("MARKHERE", message, chance)
    assert with_id(before + old.encode() + after, new.encode()) == before + new.encode() + after


def test_an_id_that_is_written_twice_changes_twice() -> None:
    changed = with_id(b'{"id":1,"i\\u0064" : 2,"params":{"id":3}}', b"9")
    assert changed == b'{"id":9,"i\\u0064" : 9,"params":{"id":3}}'


@pytest.mark.parametrize(
    "payload", [b'{"method":"m","params":{"id":1}}', b'[{"id":1}]', b'"id"', b"{", b'{"id"', b""]
)
def test_what_has_no_id_gets_none(payload: bytes) -> None:
    with pytest.raises(LookupError):
        with_id(payload, b"1")


@pytest.mark.parametrize(
    "value", [b"NaN", b"1e999", b'{"a":1,"a":2}', b'"\\ud800"', b"1.10", b"[" * 5000 + b"]" * 5000]
)
def test_what_parsers_would_change_stays(value: bytes) -> None:
    payload = b'{"id":"debbie-1","result":' + value + b',"more":1}'
    assert with_id(payload, b"1") == payload.replace(b'"debbie-1"', b"1")


names = st.text(max_size=8).filter(lambda name: name.isprintable())


@given(names, names, values, chances)
def test_a_string_is_renamed_however_it_is_spelt(
    old: str, new: str, other: Any, chance: random.Random
) -> None:
    member, mark = spelt(old, chance), '"THE MARK"'
    inside = {"branch": old, "text": [old, other], "thread": {"id": Text(mark)}, "more": other}
    before, after = spelt_with(mark, Members(("id", old), ("params", inside)), chance)
    payload = before + member.encode() + after
    changed = rename_strings(payload, ["params.sessionId", "params.thread.id"], {old: new})
    if old == new:
        assert changed is payload
    else:
        replaced = changed.removeprefix(before).removesuffix(after)
        assert changed == before + replaced + after
        assert json.loads(replaced) == new


def test_other_values_at_the_path_and_equal_strings_elsewhere_stay() -> None:
    payload = b'{"params":{"id":["a"],"b":"a","c":{"id":"a"}},"result":{"id":"a"}}'
    assert rename_strings(payload, ["params.id", "params.x.y", "params.b.c"], {"a": "z"}) is payload
    assert rename_strings(payload, ["params.id.0"], {"a": "z"}) == payload.replace(
        b'["a"]', b'["z"]'
    )


def test_a_string_changes_in_its_place() -> None:
    params = b'{"prompt":[{"type":"text","text":"g\\u006f"}],"x":1.10, "y":[NaN] }'
    assert change_string(params, "prompt.0.text", str.upper) == params.replace(
        b'"g\\u006f"', b'"GO"'
    )
    for path in ("prompt.1.text", "prompt.a", "prompt.0", "x", "none.text", ""):
        with pytest.raises(LookupError):
            change_string(params, path, str.upper)


def test_a_name_may_be_no_valid_unicode() -> None:
    names = {"\ud800": "a", "b": "\udfff"}
    changed = rename_strings(b'{"params":{"x":"\\ud800","y":"b"}}', ["params.x", "params.y"], names)
    assert changed == b'{"params":{"x":"a","y":"\\udfff"}}'


def test_names_that_are_swapped_do_not_change_twice() -> None:
    payload = b'{"params":{"from":"a","to":"b"}}'
    swapped = {"a": "b", "b": "a"}
    changed = rename_strings(payload, ["params.from", "params.to", "params.from"], swapped)
    assert changed == b'{"params":{"from":"b","to":"a"}}'


def test_each_message_of_a_batch_is_renamed() -> None:
    payload = b' [ {"params":{"s":"a"}}, 5 ,{"params":{"s":"\\u0061","s":"a"}}]'
    assert rename_strings(payload, ["params.s"], {"a": "bc"}) == (
        b' [ {"params":{"s":"bc"}}, 5 ,{"params":{"s":"bc","s":"bc"}}]'
    )


@given(st.binary(max_size=60) | st.text('{}[]",:\\ a0').map(str.encode))
def test_any_bytes_can_be_asked(payload: bytes) -> None:
    rename_strings(payload, ["a", "0.a"], {"a": "b"})
    raw_value(payload, "a.0")
    top_level_members(payload)
    members_of_batch(payload)


@given(st.lists(values, max_size=5), chances)
def test_members_of_a_batch_are_as_they_were(entries: list[Any], chance: random.Random) -> None:
    texts = [spelt(entry, chance).encode("utf-8", "surrogatepass") for entry in entries]
    assert members_of_batch(b" [\n" + b" ,\t".join(texts) + b"] ") == texts


def test_what_is_no_batch_has_no_members() -> None:
    assert members_of_batch(b'{"a":1}') == []
    assert members_of_batch(b"no json") == []
    assert members_of_batch(b'[{"a":NaN}]') == [b'{"a":NaN}']


def test_a_value_is_found_as_it_is_written() -> None:
    payload = b'{"params":{"a":[0, 1.10 ]},"params":{"a":[0, 1e400 ]}}'
    assert raw_value(payload, "params.a.1") == b"1e400"
    assert raw_value(payload, "params.b") is None
    assert top_level_members(b'{ "a" : [1, 2] , "a":{}}') == [("a", b"[1, 2]"), ("a", b"{}")]
