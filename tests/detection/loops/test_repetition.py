"""Cycles are found whatever they consist of, and what is distinct is none."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detection.loops.drawn import ARGUMENTS, plain
from tests.detection.loops.loops import Agent


@settings(max_examples=60, deadline=None)
@given(period=st.integers(1, 8), lead=st.integers(0, 12), known=st.booleans(), data=st.data())
def test_any_cycle_is_found(period: int, lead: int, known: bool, data: st.DataObject) -> None:
    calls = st.tuples(st.sampled_from(["read", "find", "show"]), ARGUMENTS.map(plain))
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
