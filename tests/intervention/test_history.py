from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.records import InterventionResult
from debbie_otel.intervention.settings import HistorySettings
from tests.intervention.attempts import BEGIN, NOW, SECOND, attempt

R = InterventionResult
Open = Callable[..., InterventionHistory]
LIMIT = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite3"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens histories on one file, or another, and closes them in the end."""
    histories: list[InterventionHistory] = []

    def open_(where: Path | None = path, **settings: Any) -> InterventionHistory:
        history = InterventionHistory(where, HistorySettings(**settings), lambda: NOW)
        histories.append(history)
        return history

    yield open_
    for history in histories:
        history.close()


@pytest.fixture(params=["file", "memory"])
def history(request: pytest.FixtureRequest, opened: Open, path: Path) -> InterventionHistory:
    return opened(path if request.param == "file" else None)


def fill(path: Path, count: int) -> None:
    history = InterventionHistory(path, HistorySettings(), lambda: NOW)
    for _ in range(count):
        history.add(attempt())
    history.close()


# -- what is added is seen ----------------------------------------------------------------------


def test_a_record_comes_back_as_it_was(opened: Open) -> None:
    record = attempt(
        result=R.PARTIAL_SUCCESS,
        reason="no_recovery",
        detail="Ünïcode \x00",
        recovery_seconds=2.25,
        evidence={"tools": ["a", {"b": [1, 2.5, None, True]}]},
    )
    first = opened()
    first.add(record)
    first.close()
    assert opened().recent() == [record]


def test_text_that_utf_8_cannot_hold_costs_no_attempt(opened: Open) -> None:
    history = opened()
    history.add(attempt(alert_message="\ud800", evidence={"what": object, "why": "\ud800"}))
    assert history.flush(LIMIT)
    assert history.recent()[0].alert_message == "?"


def test_a_record_that_cannot_be_stored_costs_only_itself(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    history = opened()
    history.add(attempt(started_ns=2**70))
    assert history.flush(LIMIT)
    history.add(kept := attempt())
    assert history.flush(LIMIT)
    assert history.recent() == [kept]
    assert history.statistics().dropped == 1
    assert "cannot be stored" in caplog.text


def test_what_is_added_is_seen_at_once(history: InterventionHistory) -> None:
    """Whether it waits, is being written, or is in the file."""
    for count in range(1, 301):
        history.add(attempt())
        assert history.statistics().total.attempts == count
    assert len(history.recent(1000)) == 300


def test_the_newest_come_first(history: InterventionHistory) -> None:
    records = [attempt(session_id=f"s{n % 2}") for n in range(10)]
    for record in records[:6]:
        history.add(record)
    history.flush(LIMIT if history.path else 0)
    for record in records[6:]:
        history.add(record)
    assert history.recent(3) == records[:-4:-1]
    assert history.session("s1") == records[::-2]
    assert history.session("s0", 2) == [records[8], records[6]]
    assert history.session("unknown") == []


def test_those_of_the_same_time_come_in_the_order_of_adding(history: InterventionHistory) -> None:
    records = [attempt(ended_ns=BEGIN) for _ in range(3)]
    for record in records:
        history.add(record)
    before = history.recent()
    history.flush(LIMIT if history.path else 0)
    assert history.recent() == before == records[::-1]


def test_answers_after_the_end(opened: Open) -> None:
    history = opened()
    history.add(attempt())
    history.close()
    assert history.statistics().total.attempts == 1
    assert history.success_rate() == 1.0


def test_it_begins_again_after_the_end(opened: Open) -> None:
    history = opened()
    for count in (1, 2, 3):
        history.add(attempt())
        history.close()
        history.close()
        assert len(history.recent()) == count
        assert opened().statistics().total.attempts == count


def test_nothing_is_made_before_the_first_record(path: Path, opened: Open) -> None:
    history = opened()
    assert history.recent() == []
    assert history.success_rate() is None
    assert not path.parent.exists()


# -- rates ----------------------------------------------------------------------------------------


def test_rates_as_users_know_them(history: InterventionHistory) -> None:
    results = [R.SUCCESS, R.SUCCESS, R.PARTIAL_SUCCESS, R.FAILURE, R.SKIPPED, R.ESCALATED]
    for result in results:
        history.add(attempt(result=result))
    assert history.success_rate() == 2.5 / 4
    assert history.statistics().total.results == {
        R.SUCCESS: 2,
        R.PARTIAL_SUCCESS: 1,
        R.FAILURE: 1,
        R.SKIPPED: 1,
        R.ESCALATED: 1,
    }


def test_rates_by_strategy_alert_type_and_agent(history: InterventionHistory) -> None:
    history.add(attempt(strategy="session_restart"))
    history.add(attempt(strategy="session_restart", alert_type="tool_loop", result=R.FAILURE))
    history.add(attempt(agent="alice", result=R.FAILURE))
    history.add(attempt(agent="carol", result=R.SKIPPED))
    assert history.success_rate("session_restart") == 0.5
    assert history.success_rate(alert_type="session_stall") == 0.5
    assert history.success_rate("session_restart", "session_stall", "bob") == 1.0
    assert history.success_rate(agent="alice") == 0.0
    assert history.success_rate(agent="carol") is None
    assert history.success_rate("state_reset") is None
    statistics = history.statistics()
    assert {name: figures.attempts for name, figures in statistics.by_strategy.items()} == {
        "prompt_injection": 2,
        "session_restart": 2,
    }
    assert statistics.by_alert_type["tool_loop"].success_rate == 0.0


def test_the_median_time_to_recover(history: InterventionHistory) -> None:
    assert history.statistics().recovery_seconds is None
    for seconds in (4.0, None, 1.0, 90.0):
        history.add(attempt(recovery_seconds=seconds))
    assert history.statistics().recovery_seconds == 4.0


# -- retention -------------------------------------------------------------------------------------


def test_the_oldest_go_beyond_a_number(opened: Open) -> None:
    history = opened(max_records=50)
    records = [attempt() for _ in range(120)]
    for record in records:
        history.add(record)
    assert history.flush(LIMIT)
    assert history.recent(1000) == records[:-51:-1]
    assert history.statistics().total.attempts == 50


def test_what_is_too_old_goes(opened: Open) -> None:
    history = opened(max_age=1800.0)
    history.add(attempt(ended_ns=NOW - 1801 * SECOND))
    history.add(young := attempt(ended_ns=NOW - 1799 * SECOND))
    assert history.recent() == [young]
    assert history.flush(LIMIT)
    assert history.recent() == [young]


def test_what_became_too_old_goes_with_the_next_record(opened: Open) -> None:
    first = opened()
    first.add(attempt(ended_ns=NOW - 1801 * SECOND, session_id="old"))
    first.close()
    later = opened(max_age=1800.0)
    assert later.recent() == later.session("old") == []
    later.add(attempt(ended_ns=NOW))
    assert later.flush(LIMIT)
    assert later.statistics().total.attempts == 1


def test_memory_is_bounded_too(opened: Open) -> None:
    history = opened(None, max_records=20)
    for _ in range(100):
        history.add(attempt())
    assert len(history.recent(1000)) == 20


# -- the file ------------------------------------------------------------------------------------------


def test_several_histories_of_one_process_share_a_file(opened: Open) -> None:
    one, other = opened(), opened()
    one.add(attempt())
    assert one.flush(LIMIT)
    assert len(other.recent()) == 1
    one.close()
    other.add(attempt())
    assert other.flush(LIMIT)
    assert len(one.recent()) == 2


def test_the_file_is_private(path: Path, opened: Open) -> None:
    before = os.umask(0)
    try:
        history = opened()
        history.add(attempt())
        assert history.flush(LIMIT)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {
        f.name.removeprefix(path.name): stat.S_IMODE(f.stat().st_mode)
        for f in path.parent.iterdir()
    }
    assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
