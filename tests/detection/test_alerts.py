"""AlertBook: pending, firing once, active, resolved, cooling down."""

from __future__ import annotations

from typing import Any

from debbie_otel.detection.alerts import AlertBook, Condition, Key, Transition
from tests.play import SECOND

STALL: Key = ("s1", "session_stall", "")


def condition(key: Key = STALL, pending: float = 0.0, **details: Any) -> Condition:
    return Condition(
        key, "high", "silent", 0, details, round(pending * SECOND), strategies=("notify",)
    )


def told(transitions: list[Transition]) -> list[str]:
    return [f"{t.event} {' '.join(filter(None, _key(t)))}" for t in transitions]


def _key(transition: Transition) -> Key:
    alert = transition.alert
    return alert.session_id, alert.alert_type, alert.subject


def test_an_alert_fires_once_and_keeps_saying_what_it_said_then() -> None:
    book = AlertBook(60 * SECOND)
    (fired,) = book.look([condition(value=31)], 5 * SECOND)
    assert fired.event == "alert"
    alert = fired.alert
    assert (alert.since_ns, alert.fired_ns, alert.resolved_ns) == (0, 5 * SECOND, None)
    assert (alert.severity, alert.message, alert.strategies) == ("high", "silent", ("notify",))
    for second in range(6, 10):
        assert book.look([condition(value=second)], second * SECOND) == []
    assert book.active == [alert]
    assert alert.details == {"value": 31}


def test_it_is_resolved_when_the_condition_is_gone() -> None:
    book = AlertBook(60 * SECOND)
    (fired,) = book.look([condition()], 0)
    (resolved,) = book.look([], 7 * SECOND)
    assert (resolved.event, resolved.time_ns) == ("resolved", 7 * SECOND)
    assert resolved.alert is fired.alert
    assert fired.alert.resolved_ns == 7 * SECOND
    assert book.active == []
    assert book.look([], 8 * SECOND) == []


def test_a_pending_condition_must_hold_without_a_break() -> None:
    book = AlertBook(60 * SECOND)
    held = condition(pending=10)
    assert book.look([held], 0) == []
    assert book.look([held], 9 * SECOND) == []
    assert book.look([], 9 * SECOND) == []  # what never fired is not resolved either
    assert book.look([held], 10 * SECOND) == []
    assert book.look([held], 19 * SECOND) == []
    assert told(book.look([held], 20 * SECOND)) == ["alert s1 session_stall"]


def test_nothing_fires_while_it_cools_down_and_what_still_holds_fires_after() -> None:
    book = AlertBook(60 * SECOND)
    book.look([condition()], 0)
    book.look([], 10 * SECOND)
    for second in (11, 40, 69):
        assert book.look([condition()], second * SECOND) == []
    assert book.active == []
    assert told(book.look([condition()], 70 * SECOND)) == ["alert s1 session_stall"]


def test_alerts_are_told_apart_by_session_type_and_subject() -> None:
    book = AlertBook(60 * SECOND)
    keys: list[Key] = [
        ("s1", "slow_response", "read"),
        ("s1", "slow_response", "write"),
        ("s1", "session_stall", ""),
        ("s2", "session_stall", ""),
    ]
    assert len(book.look([condition(key) for key in (*keys, *keys)], 0)) == 4
    assert told(book.look([condition(key) for key in keys[1:]], 1)) == [
        "resolved s1 slow_response read"
    ]
    assert len(book.active) == 3


def test_a_look_at_some_sessions_concludes_nothing_of_others() -> None:
    book = AlertBook(60 * SECOND)
    other: Key = ("s2", "session_stall", "")
    book.look([condition(), condition(other)], 0)
    assert book.look([condition(other)], 1, {"s2"}) == []
    assert told(book.look([], 2, {"s2"})) == ["resolved s2 session_stall"]
    assert told(book.look([], 3)) == ["resolved s1 session_stall"]


def test_a_pending_condition_outlives_looks_at_other_sessions() -> None:
    book = AlertBook(60 * SECOND)
    held = condition(pending=10)
    book.look([held], 0)
    book.look([], 5 * SECOND, {"s2"})
    assert len(book.look([held], 10 * SECOND)) == 1


def test_a_session_that_ends_is_forgotten_with_all_that_is_kept_of_it() -> None:
    book = AlertBook(3600 * SECOND)
    book.look([condition(), condition(("s1", "retry_storm", ""), pending=99)], 0)
    book.look([condition(("s2", "session_stall", ""))], 0, {"s2"})
    assert told(book.forget("s1", SECOND)) == ["resolved s1 session_stall"]
    assert book.forget("s1", SECOND) == []
    assert [alert.session_id for alert in book.active] == ["s2"]
    # A new session of that name does not cool down from the old one's alerts.
    assert told(book.look([condition()], 2 * SECOND, {"s1"})) == ["alert s1 session_stall"]


def test_nothing_is_kept_of_what_is_over() -> None:
    book = AlertBook(SECOND)
    for number in range(1000):
        book.look([condition((f"s{number}", "session_stall", ""))], number * SECOND)
    book.look([], 5000 * SECOND)
    book.look([], 5002 * SECOND)
    assert (book._active, book._pending, book._quiet_until) == ({}, {}, {})
