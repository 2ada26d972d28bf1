from __future__ import annotations

import pytest

from debbie_otel.app.clock import CATCHING_UP, wall_clock
from debbie_otel.session.model import Clock

SECOND = 1_000_000_000
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
NOON = 1_800_000_000 * SECOND


class Machine:
    """The two clocks of a machine."""

    def __init__(self) -> None:
        self.wall = NOON
        self.monotonic = 5 * HOUR

    def clock(self) -> Clock:
        return wall_clock(lambda: self.wall, lambda: self.monotonic)

    def pass_time(self, ns: int) -> None:
        self.wall += ns
        self.monotonic += ns


def test_time_passes() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock() == NOON
    machine.pass_time(90 * SECOND)
    assert clock() == NOON + 90 * SECOND


def test_it_is_right_after_a_suspend() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_time(MINUTE)
    clock()
    machine.wall += 8 * HOUR  # the monotonic clock stood still
    assert clock() == machine.wall
    machine.pass_time(SECOND)
    assert clock() == machine.wall


def test_it_follows_a_step_forward_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 20 * 365 * 24 * HOUR  # a board without a battery finds its time server
    assert clock() == machine.wall


def test_it_never_runs_backwards_and_catches_up() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_time(HOUR)
    before = clock()
    machine.wall -= HOUR
    assert clock() == before
    machine.pass_time(8 * SECOND)
    assert clock() == before + 7 * SECOND  # time goes on, a little slower
    last = clock()
    for _ in range(CATCHING_UP * 60 + 1):
        machine.pass_time(MINUTE)
        now = clock()
        assert MINUTE * 7 // 8 - 1 <= now - last <= MINUTE
        last = now
    assert clock() == machine.wall


def test_what_passed_before_the_step_is_noticed_is_not_lost() -> None:
    machine = Machine()
    clock = machine.clock()
    started = clock()
    machine.pass_time(40 * SECOND)
    machine.wall -= HOUR
    assert clock() - started == 35 * SECOND


@pytest.mark.parametrize("drift", [-200, 200])  # parts in a million: the worst quartz there is
def test_it_follows_a_slow_drift(drift: int) -> None:
    machine = Machine()
    clock = machine.clock()
    last = clock()
    for _ in range(24 * 60):
        machine.monotonic += MINUTE
        machine.wall += MINUTE + MINUTE * drift // 1_000_000
        now = clock()
        assert now == machine.wall
        assert now > last
        last = now


def test_small_steps_back_are_absorbed() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(50):
        before = clock()
        machine.wall -= SECOND // 10
        assert clock() >= before
        machine.pass_time(SECOND)
        clock()
    assert clock() == machine.wall


def test_the_monotonic_clock_may_stand_still_meanwhile() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock()
    machine.wall -= HOUR
    machine.monotonic -= 5  # two processors
    assert clock() == before
