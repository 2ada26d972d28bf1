"""What the history's file goes through: other processes, kill -9, a full disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.history_writer import MAX_WAITING
from tests.intervention.attempts import attempt
from tests.intervention.test_history import LIMIT, Open, fill, opened, path

__all__ = ["opened", "path"]  # fixtures

HEAD = """
import logging, os, resource, signal, sys
from pathlib import Path
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.history_file import HistoryFile
from debbie_otel.intervention.settings import HistorySettings
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
        file = HistoryFile(path, 5.0)
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
    assert complaint in history.statistics().problem
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
