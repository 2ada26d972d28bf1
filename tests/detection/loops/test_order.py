"""Calls count in the order in which they began."""

from __future__ import annotations

from debbie_otel.detection.loops.order import MAX_OPEN, StartOrder
from tests.detection.loops.tools import tool


def test_who_began_later_waits_for_who_began_before() -> None:
    order, first, second = StartOrder(), tool("a"), tool("b")
    assert order.started(first) == order.started(second) == []
    assert order.ended(second, looping=False) == []
    assert order.ended(first, looping=False) == [first, second]
    assert order.running == 0


def test_a_call_in_the_background_is_not_waited_for() -> None:
    order, background, quick, later = StartOrder(), tool("build"), tool("a"), tool("b")
    for started in (background, quick):
        order.started(started)
    assert order.ended(quick, looping=False) == []
    assert order.started(later) == [quick]
    assert order.ended(later, looping=False) == [later]
    assert order.ended(background, looping=False) == [background]


def test_its_end_breaks_no_loop() -> None:
    order, background, quick = StartOrder(), tool("build"), tool("a")
    for started in (background, quick):
        order.started(started)
    order.ended(quick, looping=False)
    order.started(tool("b"))
    assert order.ended(background, looping=True) == []


def test_a_call_whose_beginning_nobody_saw_counts_at_once() -> None:
    unseen = tool("a")
    assert StartOrder().ended(unseen, looping=True) == [unseen]


def test_so_many_are_waited_for_and_no_more() -> None:
    order = StartOrder()
    calls = [tool(f"t{number}") for number in range(3 * MAX_OPEN)]
    for call in calls:
        order.started(call)
    assert order.running == MAX_OPEN
    assert order.ended(calls[2 * MAX_OPEN], looping=False) == [calls[2 * MAX_OPEN]]


def test_what_is_forgotten_is_not_waited_for() -> None:
    order, first, second = StartOrder(), tool("a"), tool("b")
    order.started(first)
    order.forget()
    order.started(second)
    assert order.ended(second, looping=False) == [second]
