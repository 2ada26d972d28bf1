"""The history: what is added is seen, survives the process, and makes nothing wait."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from debbie_otel.intervention.history import MAX_WAITING, InterventionHistory
from debbie_otel.intervention.history_store import HistoryStore
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from tests.intervention.attempts import BEGIN, NOW, SECOND, attempt
from tests.intervention.histories import LIMIT, Open, fill

R = InterventionResult

HEAD = """
import logging, os, resource, signal, sys
from pathlib import Path
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.history_store import HistoryStore
from debbie_otel.intervention.intervention_config import HistorySettings
from tests.intervention.attempts import NOW, attempt

path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
logging.basicConfig(format="%(message)s", level=logging.INFO)
history = InterventionHistory(path, HistorySettings(), lambda: NOW)
"""


def script(body: str, path: Path, name: str = "", count: int = 1) -> subprocess.Popen[str]:
    """Start a process that has a history open."""
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(body), str(path), name, str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()


def assert_sound(path: Path) -> None:
    """The file is whole, and its tallies are the counts of its attempts."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counted = connection.execute(
            "SELECT strategy, alert_type, agent, result, count(*) FROM attempts"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        ).fetchall()
        tallies = connection.execute("SELECT * FROM tallies ORDER BY 1, 2, 3, 4").fetchall()
        assert tallies == counted
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> bool:
    """Wait until something holds; return whether it does in time."""
    deadline = time.monotonic() + LIMIT
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


@pytest.fixture(params=["file", "memory"])
def history(request: pytest.FixtureRequest, opened: Open, path: Path) -> InterventionHistory:
    return opened(path if request.param == "file" else None)


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


# -- several processes ----------------------------------------------------------------------------

ADD_AND_TELL = """
    for number in range(count):
        history.add(attempt(id=f"{name}-{number}", session_id=name))
        if number % 10 == 9 and history.flush(20):
            print(number, flush=True)
    history.close()
"""


def test_several_processes_write_at_once(path: Path, opened: Open) -> None:
    mine = opened()
    others = [script(ADD_AND_TELL, path, f"process-{n}", 100) for n in range(2)]
    for _ in range(100):
        mine.add(attempt(session_id="mine"))
    for process in others:
        _, errors = finish(process)
        assert (process.returncode, errors) == (0, "")
    for name in ("mine", "process-0", "process-1"):
        assert len(mine.session(name, 1000)) == 100
    assert mine.statistics().total.attempts == 300
    mine.close()
    assert_sound(path)


# -- the end of the process ---------------------------------------------------------------------------


def test_kill_at_any_moment_costs_nothing_that_was_written(path: Path, opened: Open) -> None:
    """A subprocess writes and tells what is on disk; it is killed in the middle of it."""
    for run in range(3):
        name = f"run-{run}"
        process = script(ADD_AND_TELL, path, name, 1_000_000)
        assert process.stdout is not None
        said = next(int(line) for line in process.stdout if int(line) >= 50 + 37 * run)
        process.kill()
        process.communicate(timeout=LIMIT)
        assert Path(f"{path}-wal").stat().st_size > 0  # it really had the file open
        history = opened()
        ids = {record.id for record in history.session(name, 1_000_000)}
        history.close()
        assert {f"{name}-{number}" for number in range(said + 1)} <= ids
        assert_sound(path)
    assert not list(path.parent.glob("*.corrupt-*"))


def test_kill_between_two_records_of_a_transaction(path: Path, opened: Open) -> None:
    body = """
        history.add(attempt(id="before"))
        history.close()
        file = HistoryStore(path, 5.0)
        seen = 0

        def trace(statement):
            global seen
            seen += "INSERT OR IGNORE" in statement
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

        file._connection.set_trace_callback(trace)
        file.add([attempt(id=f"within-{n}") for n in range(2 * count)], 10_000, 0)
    """
    process = script(body, path, count=20)
    finish(process)
    assert process.returncode == -9
    history = opened()
    assert [record.id for record in history.recent()] == ["before"]
    history.close()
    assert_sound(path)


def test_kill_with_records_in_the_write_ahead_log_only(path: Path, opened: Open) -> None:
    body = """
        for _ in range(count):
            history.add(attempt())
        history.flush(20)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    finish(script(body, path, count=30))
    assert Path(f"{path}-wal").stat().st_size > 10_000
    assert len(opened().recent()) == 30


# -- deleted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave_empty", [True, False])
def test_a_file_that_somebody_deleted_is_made_anew(
    path: Path, opened: Open, *, leave_empty: bool
) -> None:
    history = opened()
    history.add(attempt())
    assert history.flush(LIMIT)
    for file in path.parent.iterdir():
        file.unlink()
    if leave_empty:
        path.touch()
    history.add(kept := attempt())
    assert history.flush(LIMIT)
    assert history.recent() == [kept]


# -- where it cannot be written -----------------------------------------------------------------------


@pytest.fixture
def obstacle(tmp_path: Path) -> Path:
    """A file where the folder should be."""
    place = tmp_path / "taken"
    place.write_text("a file")
    return place


def test_without_a_folder_it_works_in_memory_and_says_so_once(
    obstacle: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    history = opened(obstacle / "history.sqlite3")
    records = [attempt() for _ in range(3)]
    for record in records:
        history.add(record)
        assert history.recent(1) == [record]
    assert not history.flush(0.7)  # long enough for a second try
    assert history.recent() == records[::-1]
    assert history.success_rate() == 1.0
    assert "remembered in memory only" in history.statistics().problem
    assert len(caplog.records) == 1
    started = time.monotonic()
    history.close()
    assert time.monotonic() - started < 2.0
    assert "3 attempts could not be written" in caplog.records[1].getMessage()


def test_it_is_written_once_that_is_possible_again(obstacle: Path, opened: Open) -> None:
    history = opened(obstacle / "history.sqlite3")
    history.add(attempt())
    assert not history.flush(0.1)
    obstacle.unlink()
    assert history.flush(LIMIT)
    assert len(history.recent()) == 1
    assert history.statistics().problem == ""


def test_what_waits_is_bounded(obstacle: Path, opened: Open) -> None:
    history = opened(obstacle / "history.sqlite3")
    for _ in range(MAX_WAITING + 5):
        history.add(attempt())
    statistics = history.statistics()
    assert (statistics.total.attempts, statistics.dropped) == (MAX_WAITING, 5)


def test_a_full_disk(path: Path) -> None:
    """The kernel refuses to write: memory holds what comes until there is space again."""
    body = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        history.add(attempt(session_id="before"))
        assert history.flush(10)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        for number in range(count):
            history.add(attempt(detail="x" * 500))
        assert not history.flush(0.3)
        full = history.statistics()
        assert full.problem and full.total.attempts == count + 1, full
        assert len(history.recent(10_000)) == count + 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert history.flush(10)
        assert history.statistics().total.attempts == count + 1
        history.close()
    """
    process = script(body, path, count=400)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert errors.count("remembered in memory only") == 1
    assert errors.count("is written again") == 1
    assert_sound(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_only_be_read(path: Path, tmp_path: Path) -> None:
    """As somebody whom the kernel does not let everything."""
    fill(path, 5)
    path.parent.chmod(0o555)
    for folder in list(tmp_path.parents)[:3]:  # pytest keeps them to its user
        folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    path.chmod(0o444)
    body = """
        history.close()
        os.setuid(65534)
        history = InterventionHistory(Path(name), HistorySettings(), lambda: NOW)
        history.add(attempt(session_id="new"))
        assert not history.flush(0.3)
        assert len(history.session("new")) == 1
        history.close()
    """
    process = script(body, tmp_path / "elsewhere" / "history.sqlite3", str(path))
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert errors.count("remembered in memory only") == 1


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("CREATE TABLE recipes (name TEXT)", "another program"),
        ("PRAGMA application_id = 77", "another program"),
        ("PRAGMA user_version = 99", "later version (99)"),
    ],
)
def test_a_file_that_is_not_ours_is_left_alone(
    statement: str, complaint: str, path: Path, opened: Open
) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    history = opened()
    history.add(attempt())
    assert len(history.recent()) == 1
    assert until(lambda: complaint in history.statistics().problem)
    history.close()
    assert path.read_bytes() == before


# -- nobody waits -------------------------------------------------------------------------------------


def lock(path: Path) -> sqlite3.Connection:
    """Begin to write, as another process would."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def written(history: InterventionHistory) -> InterventionHistory:
    history.add(attempt())
    assert history.flush(LIMIT)
    return history


def test_neither_adding_nor_asking_waits_for_a_locked_file(path: Path, opened: Open) -> None:
    history = written(opened())
    other = lock(path)
    started = time.monotonic()
    for _ in range(100):
        history.add(attempt())
    assert len(history.recent(1000)) == 101
    assert time.monotonic() - started < 1.0
    other.execute("ROLLBACK")
    other.close()
    assert history.flush(LIMIT)


def test_close_is_bounded_while_the_file_is_locked(
    path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    history = written(opened())
    other = lock(path)
    history.add(attempt())
    started = time.monotonic()
    history.close(timeout=0.3)
    assert time.monotonic() - started < 1.0
    assert "1 attempts could not be written" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    for thread in threading.enumerate():
        if thread.name == "debbie-history":
            thread.join(LIMIT)
            assert not thread.is_alive()


async def test_a_slow_disk_does_not_stop_the_event_loop(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records come in while the file is checked, written and read, all of them slowly."""
    check, add, latest = HistoryStore.check, HistoryStore.add, HistoryStore.latest

    def slow_check(store: HistoryStore) -> None:
        time.sleep(1.5)
        check(store)

    def slow_add(
        store: HistoryStore, records: Sequence[InterventionRecord], most: int, before_ns: int
    ) -> None:
        time.sleep(0.5)
        add(store, records, most, before_ns)

    def slow_latest(
        store: HistoryStore, limit: int, session_id: str | None = None, since_ns: int = 0
    ) -> list[InterventionRecord]:
        time.sleep(0.5)
        return latest(store, limit, session_id, since_ns)

    fill(path, 10)
    monkeypatch.setattr(HistoryStore, "check", slow_check)
    monkeypatch.setattr(HistoryStore, "add", slow_add)
    monkeypatch.setattr(HistoryStore, "latest", slow_latest)
    history = opened()
    longest, added = 0.0, 0
    loop = asyncio.get_running_loop()
    asked = loop.run_in_executor(None, history.recent, 1000)
    written: asyncio.Future[bool] | None = None
    while written is None or not (asked.done() and written.done()):
        before = time.monotonic()
        if added < 50:
            history.add(attempt())
            added += 1
        elif written is None:
            written = loop.run_in_executor(None, history.flush, LIMIT)
        longest = max(longest, time.monotonic() - before)
        await asyncio.sleep(0.01)
    assert await written
    assert len(await asyncio.to_thread(history.recent, 1000)) == 60
    assert longest < 0.2  # each of the three takes far longer
    await asyncio.to_thread(history.close)
