"""The history's file: its schema, and what happens where it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from debbie_otel.intervention.history_store import HistoryStore, migrate, move_aside
from debbie_otel.intervention.records import InterventionRecord
from tests.intervention.attempts import BEGIN, attempt
from tests.intervention.histories import LIMIT, Open, fill


def damage_all(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def damage_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 2 * 4096))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def set_aside(path: Path) -> list[Path]:
    found = (file for file in path.parent.iterdir() if ".corrupt-" in file.name)
    return [file for file in found if not file.name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("damage", [damage_all, damage_middle, cut])
def test_a_damaged_file_is_moved_aside_and_reported_in_one_line(
    damage: Callable[[Path], None], path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, 200)
    damage(path)
    damaged = path.read_bytes()
    with caplog.at_level(logging.INFO):
        history = opened()
        assert history.recent() == []
        history.add(kept := attempt())
        assert history.flush(LIMIT)
    assert history.recent() == [kept]
    (aside,) = set_aside(path)
    assert aside.read_bytes() == damaged
    assert aside.name == "history.sqlite3.corrupt-20231114T231320Z"
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(path) in line
    assert str(aside) in line


def test_the_log_of_a_damaged_file_goes_with_it(path: Path) -> None:
    path.parent.mkdir()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_text(suffix)
    aside = move_aside(path, BEGIN)
    left = {Path(f"{aside}{suffix}").read_text() for suffix in ("", "-wal", "-shm")}
    assert left == {"", "-wal", "-shm"}
    assert len(list(path.parent.iterdir())) == 3


def test_damage_while_it_is_in_use(
    path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    history = opened()
    for _ in range(200):
        history.add(attempt())
    assert history.flush(LIMIT)
    other = sqlite3.connect(path)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    damage_middle(path)
    deadline = time.monotonic() + LIMIT
    while not set_aside(path) and time.monotonic() < deadline:
        history.add(attempt())  # what is in SQLite's cache may hide the damage for a while
        history.flush(1.0)
        history.recent(1000)
    history.add(last := attempt())
    assert history.flush(LIMIT)
    assert history.recent(1) == [last]
    assert len(set_aside(path)) == 1
    assert caplog.text.count("is damaged") == 1


def test_of_many_that_find_the_damage_one_moves_the_file(path: Path) -> None:
    path.parent.mkdir()
    damage_all(path)
    found: list[Path | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(move_aside(path, BEGIN))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(found) == 8
    assert sum(aside is not None for aside in found) == 1


def test_a_second_damaged_file_of_the_same_second_has_a_name_of_its_own(path: Path) -> None:
    path.parent.mkdir()
    names = []
    for _ in range(2):
        damage_all(path)
        aside = move_aside(path, BEGIN)
        assert aside is not None
        names.append(aside.name)
    assert names[1] == names[0] + ".2"


# -- schema --------------------------------------------------------------------------------------


def test_the_file_holds_the_fields_of_a_record_and_nothing_else(path: Path) -> None:
    fill(path, 1)
    connection = sqlite3.connect(path)
    columns = {row[1] for row in connection.execute("PRAGMA table_info(attempts)")}
    connection.close()
    fields = {field.name for field in msgspec.structs.fields(InterventionRecord)}
    assert columns == fields | {"number"}


def test_migrations_go_on_from_where_a_file_is(path: Path) -> None:
    fill(path, 3)
    file = HistoryStore(path, 1.0)
    sql = file._connection.execute
    steps = (("unused",), ("ALTER TABLE attempts ADD COLUMN note TEXT DEFAULT 'none'",))
    migrate(file._connection, steps)
    assert sql("SELECT note FROM attempts").fetchall() == [("none",)] * 3
    migrate(file._connection, steps)  # nothing is left to do
    with pytest.raises(sqlite3.OperationalError):
        migrate(file._connection, (*steps, ("CREATE TABLE more (x)", "nonsense")))
    assert sql("PRAGMA user_version").fetchone() == (2,)
    assert "more" not in {name for (name,) in sql("SELECT name FROM sqlite_schema")}
    file.close()
