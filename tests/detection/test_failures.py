from __future__ import annotations

from debbie_otel.detection.failures import Failures
from tests.play import SECOND


def test_a_share_of_what_failed() -> None:
    failures = Failures(60 * SECOND)
    for number in range(10):
        failures.add(number, "call", str(number), "-1" if number < 3 else None)
    rate = failures.rate(10)
    assert (rate.errors, rate.calls, rate.ratio) == (3, 10, 0.3)
    assert rate.last_error == "call: -1"


def test_a_retry_that_succeeds_forgives() -> None:
    failures = Failures(60 * SECOND)
    failures.add(1, "read", "a", "tool_error")
    failures.add(2, "read", "b", "tool_error")
    assert failures.has_failed("read")
    failures.add(3, "read", "a", None)
    assert failures.rate(4).errors == 1
    failures.add(5, "read", "b", None)
    assert not failures.has_failed("read")


def test_old_attempts_do_not_count() -> None:
    failures = Failures(60 * SECOND)
    failures.add(0, "a", "", "-1")
    assert failures.rate(60 * SECOND).errors == 1
    assert failures.rate(61 * SECOND).errors == 0


def test_attempts_at_the_same_thing() -> None:
    failures = Failures(600 * SECOND)
    for number in range(5):
        failures.add(number * SECOND, "connect", "db", "-1")
        failures.add(number * SECOND, "other", str(number), "-1")
    assert failures.repeated(5 * SECOND, 60 * SECOND) == ("connect", 5)
    assert failures.repeated(300 * SECOND, 60 * SECOND) == ("", 0)
