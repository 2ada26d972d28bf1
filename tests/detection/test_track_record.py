from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec

from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.detection.track_record import TrackRecord

SECOND = 10**9


def fresh(**changed: float) -> TrackRecord:
    return TrackRecord(msgspec.convert(changed, DetectionSettings))


def test_what_succeeded_counts_beside_what_failed() -> None:
    record = fresh()
    for number in range(7):
        record.answered("m", 0.1, number, None)
    record.attempt("m", None, "-1", 7)
    rate = record.failures.rate(8)
    assert (rate.errors, rate.calls) == (1, 8)


def test_only_the_last_fifty_attempts_count() -> None:
    record = fresh()
    for number in range(1000):
        record.answered("m", 0.1, number, None)
    record.digest()
    assert record.failures.rate(1000).calls == 50


def test_a_success_after_a_failure_forgives_that_call_alone() -> None:
    record = fresh()
    for arguments in (b"1", b"2"):
        record.attempt("m", msgspec.Raw(arguments), "-1", 0)
    record.answered("m", 0.1, 1, msgspec.Raw(b"1"))
    assert record.failures.rate(2).errors == 1
    record.answered("m", 0.1, 3, msgspec.Raw(b"2"))
    assert record.failures.rate(4).errors == 0


def test_the_attempt_that_makes_enough_of_them_cannot_wait() -> None:
    record = fresh(error_calls=3)
    assert [record.answered("m", 0.1, n, None) for n in range(5)] == [
        False, False, True, False, False,
    ]  # fmt: skip
    assert record.attempt("m", None, "-1", 6)


def test_times_are_the_same_whenever_they_are_digested() -> None:
    at_once, late = fresh(), fresh()
    times = [0.1] * 40 + [1.0] * 4
    for number, seconds in enumerate(times):
        for record in (at_once, late):
            record.answered("m", seconds, number * SECOND, None)
            record.time("other", 0.5, number * SECOND)
        assert list(at_once.slow()) == [] or number > 41
    assert list(late.slow()) == list(at_once.slow())
    ((name, slow),) = late.slow()
    assert (name, slow.current, slow.baseline) == ("m", 1.0, 0.1)


def test_methods_beyond_the_bound_are_not_timed() -> None:
    record = fresh()
    for name in [f"m{number}" for number in range(100)]:
        for number in range(20):
            record.time(name, 0.01 if number < 16 else 9.0, number)
    assert len(list(record.slow())) == 64


def test_nothing_is_lost_while_another_thread_looks() -> None:
    record, calls = fresh(error_minimum=1), 20_000
    seen = 0

    def look() -> None:
        while seen < calls:
            record.digest()

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        while seen < calls:
            record.answered("m", 0.1, seen, None)
            seen += 1
        looking.result(timeout=10)
    record.digest()
    # The last fifty, in the order in which they were told.
    assert [record.failures.rate(when).calls for when in (calls, 301 * SECOND + calls - 10)] == [
        50,
        0,
    ]
    assert record.failures.rate(300 * SECOND + calls - 10).calls == 10
