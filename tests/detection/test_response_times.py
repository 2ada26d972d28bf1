from __future__ import annotations

import random

from debbie_otel.detection.response_times import ResponseTimes


def times(values: list[float], **changed: float) -> ResponseTimes:
    found = ResponseTimes(100, 5, changed.get("factor", 2.0), changed.get("floor", 0.05))
    for number, value in enumerate(values):
        found.extend([(value, number)])
    return found


def test_three_slow_of_the_last_four_are_slow() -> None:
    normal = [1.0] * 8
    assert times([*normal, 2.5, 2.5]).slowness() is None
    slow = times([*normal, 2.5, 1.0, 2.5, 2.5]).slowness()
    assert slow is not None
    assert (slow.current, slow.baseline, slow.ratio) == (2.5, 1.0, 2.5)
    assert slow.since_ns == 8


def test_it_is_over_when_calls_are_fast_again() -> None:
    assert times([*[1.0] * 8, 3, 3, 3, 3, 1, 1]).slowness() is None


def test_slow_calls_do_not_spoil_the_baseline() -> None:
    slow = times([*[1.0] * 8, *[3.0] * 30]).slowness()
    assert slow is not None
    assert slow.baseline == 1.0


def test_after_fifty_slow_calls_slow_is_normal() -> None:
    assert times([*[1.0] * 8, *[3.0] * 60]).slowness() is None


def test_a_cold_first_call_does_not_count() -> None:
    assert times([20.0, *[1.0] * 8]).slowness() is None
    assert times([0.01, *[1.0] * 8]).slowness() is None


def test_without_a_baseline_nothing_is_slow() -> None:
    assert times([1.0, 1.0, 1.0, 9.0, 9.0, 9.0]).slowness() is None


def test_milliseconds_are_not_worth_an_alert() -> None:
    assert times([*[0.002] * 8, *[0.02] * 4]).slowness() is None


def test_what_varies_by_nature_is_not_slow() -> None:
    alarmed = 0
    for seed in range(300):
        values = random.Random(seed)
        found = ResponseTimes(100, 5, 2.0, 0.05)
        alarm = False
        for number in range(60):
            found.extend([(values.lognormvariate(1.0, 0.9), number)])
            alarm = alarm or found.slowness() is not None
        alarmed += alarm
    assert alarmed <= 0.04 * 300
