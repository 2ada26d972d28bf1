"""What asks or says the same has one canonical form, however it is spelled."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.detection.loops import LoopSettings
from debbie_otel.detection.loops.canonical import canonical, stable
from tests.detection.loops.drawn import ARGUMENTS, NAMES, VALUES, patiently

CANONICAL = canonical(LoopSettings())
VOLATILE = st.sampled_from(["timestamp", "requestId", "request-id", "nonce", "PID", "_meta"])


@patiently
@given(ARGUMENTS, st.randoms(use_true_random=False))
def test_order_of_members_does_not_matter(arguments: dict[str, Any], random: Any) -> None:
    assert _key(arguments) == _key(_shuffled(arguments, random))
    assert _key(arguments) == _key(json.dumps(arguments))


@patiently
@given(ARGUMENTS, st.dictionaries(VOLATILE, VALUES, min_size=1))
def test_volatile_members_do_not_matter(arguments: dict[str, Any], more: dict[str, Any]) -> None:
    assert _key(arguments) == _key(arguments | more) == _key(arguments | {"new": None})


@patiently
@given(ARGUMENTS, NAMES, st.integers(100, 999))
def test_other_values_do_matter(arguments: dict[str, Any], name: str, value: int) -> None:
    assert _key(arguments | {name: value}) != _key(arguments | {name: value + 1})
    assert _key(arguments | {name: value}) != CANONICAL.request("other", arguments).key


def test_spelling_of_values() -> None:
    assert (
        _key({"n": 5, "s": " a  b\t c "})
        == _key({"n": 5.0, "s": "a b c"})
        == _key({"n": "5", "s": "a b c"})
    )
    assert _key({"path": "./src/a.py"}) == _key({"path": "src/a.py"})
    assert _key({}) == _key(None)
    assert _key({"code": "if x:\n  y\n  z"}) != _key({"code": "if x:\n  y\nz"})
    assert _key({"command": "ls", "description": "x"}) == _key({"command": "ls"})
    assert _key({"title": "ls", "description": "x"}) != _key({"title": "ls"})


def test_results_that_say_the_same() -> None:
    pairs = [
        ("Done in 1.25s at 2026-11-22T16:42:47Z", "Done in 3.5s at 2026-11-23T01:02:03.5Z"),
        ("5 passed in 0.12 seconds", "5 passed in 10.5 seconds"),
        ("started, pid 4711", "started, pid 12"),
        ("request 3f2b9c1e-8a77-4c1d-9b1f-0a1b2c3d4e5f ok", "request 00000000-0000-4000-8000-000000000000 ok"),
        ("object at 0x7f3a2c", "object at 0xdeadbeef"),
        ("wrote /tmp/tmpab12/x", "wrote /tmp/tmpzz9/x"),
        ({"ok": True, "tookMs": 4, "createdAt": 1}, {"ok": True, "tookMs": 9, "createdAt": 2}),
        ([{"type": "text", "text": '{"n":1,"timestamp":5}'}], [{"type": "text", "text": '{"timestamp":6,"n":1}'}]),
    ]  # fmt: skip
    for one, other in pairs:
        assert CANONICAL.result(one) == CANONICAL.result(other), one


def test_results_that_say_something_new() -> None:
    pairs = [
        ("progress: 40%", "progress: 45%"),
        ("line 10 of 200", "line 11 of 200"),
        ({"rows": 10}, {"rows": 11}),
        ("commit a1b2c3d", "commit a1b2c3e"),
        ("x" * 5000 + "a" + "y" * 5000, "x" * 5000 + "b" + "y" * 5000),
        (list(range(1000)), list(range(1001))),
    ]
    for one, other in pairs:
        assert CANONICAL.result(one) != CANONICAL.result(other), one


@patiently
@given(st.text(max_size=300))
def test_stable_text_is_stable(text: str) -> None:
    assert stable(stable(text)) == stable(text)


def _key(arguments: Any) -> int:
    return CANONICAL.request("tool", arguments).key


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        names = list(value)
        random.shuffle(names)
        return {name: _shuffled(value[name], random) for name in names}
    return [_shuffled(item, random) for item in value] if isinstance(value, list) else value
