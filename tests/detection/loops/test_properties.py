"""What holds for all calls: cycles are found, what is distinct is not, spelling does not matter."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from debbie_otel.detection.loops import LoopSettings
from debbie_otel.detection.loops.canonical import canonical, stable
from tests.detection.loops.loops import Agent

CANONICAL = canonical(LoopSettings())
NAMES = st.sampled_from(["query", "limit", "filter", "deep", "list", "flag"])
SCALARS = st.integers(-5, 99) | st.booleans() | st.text(max_size=12) | st.floats(-9, 9, width=16)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)
VOLATILE = st.sampled_from(["timestamp", "requestId", "request-id", "nonce", "PID", "_meta"])


@settings(max_examples=60, deadline=None)
@given(period=st.integers(1, 8), lead=st.integers(0, 12), known=st.booleans(), data=st.data())
def test_any_cycle_is_found(period: int, lead: int, known: bool, data: st.DataObject) -> None:
    calls = st.tuples(st.sampled_from(["read", "find", "show"]), ARGUMENTS.map(_plain))
    cycle = data.draw(st.lists(calls, min_size=period, max_size=period))
    agent = Agent()
    for number in range(lead):
        agent.call(f"before_{number}", {"n": number}, f"result {number}")
    for _ in range(5):
        for name, arguments in cycle:
            agent.call(name, json.loads(arguments), "as before" if known else None)
    assert any(f.tier == "hard" for f in agent.found)
    assert agent.detector.active is not None
    assert agent.detector.active.period <= period


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6)), unique=True, max_size=80))
def test_distinct_calls_are_never_a_loop(calls: list[tuple[str, int]]) -> None:
    agent, blind = Agent(), Agent()
    for name, number in calls:
        agent.call(name, {"id": number}, f"said of {name}: {number}")
        blind.call(name, {"id": number})
    assert agent.found == blind.found == []


@given(ARGUMENTS, st.randoms(use_true_random=False))
def test_order_of_members_does_not_matter(arguments: dict[str, Any], random: Any) -> None:
    assert _key(arguments) == _key(_shuffled(arguments, random))
    assert _key(arguments) == _key(json.dumps(arguments))


@given(ARGUMENTS, st.dictionaries(VOLATILE, VALUES, min_size=1))
def test_volatile_members_do_not_matter(arguments: dict[str, Any], more: dict[str, Any]) -> None:
    assert _key(arguments) == _key(arguments | more) == _key(arguments | {"new": None})


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


@given(st.text(max_size=300))
def test_stable_text_is_stable(text: str) -> None:
    assert stable(stable(text)) == stable(text)


def _key(arguments: Any) -> int:
    return CANONICAL.request("tool", arguments).key


def _plain(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments)


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        names = list(value)
        random.shuffle(names)
        return {name: _shuffled(value[name], random) for name in names}
    return [_shuffled(item, random) for item in value] if isinstance(value, list) else value
