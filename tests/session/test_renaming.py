"""Names of sessions, changed both ways."""

from __future__ import annotations

import json

from debbie_otel.session.renaming import Renaming


def renamed() -> Renaming:
    names = Renaming()
    names.learn("a", "b")
    return names


def test_without_names_nothing_is_even_copied() -> None:
    names, payload = Renaming(), b'{"sessionId":"a"}'
    assert not names
    assert names.to_server(payload) is payload
    assert names.to_client(payload) is payload


def test_names_change_both_ways() -> None:
    names = renamed()
    assert names.to_server(b'{"sessionId": "a", "x": ["a", "ab"]}') == (
        b'{"sessionId": "b", "x": ["b", "ab"]}'
    )
    assert names.to_client(b'{"sessionId":"b"}') == b'{"sessionId":"a"}'
    assert names.server_name("a") == "b"
    assert names.server_name("c") == "c"


def test_what_somebody_wrote_stays() -> None:
    payload = json.dumps({"text": 'the session "a" and a', "more": "a"}).encode()
    changed = json.loads(renamed().to_server(payload))
    assert changed == {"text": 'the session "a" and a', "more": "b"}


def test_names_that_are_swapped_do_not_change_twice() -> None:
    names = renamed()
    names.learn("b", "a")
    assert names.to_server(b'["a","b"]') == b'["b","a"]'
    assert names.to_client(b'["a","b"]') == b'["b","a"]'


def test_a_later_name_takes_the_place_of_an_earlier_one() -> None:
    names = renamed()
    names.learn("a", "c")
    assert names.to_server(b'["a"]') == b'["c"]'
    assert names.to_client(b'["b","c"]') == b'["b","a"]'
    names.learn("a", "a")
    assert not names


def test_names_with_characters_that_json_escapes() -> None:
    names = Renaming()
    names.learn('q"\\é', "new")
    payload = json.dumps(['q"\\é'], ensure_ascii=False).encode()
    assert names.to_server(payload) == b'["new"]'
