from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from debbie_otel.intervention.history_file import HistoryFile
from debbie_otel.intervention.history_schema import migrate
from debbie_otel.intervention.records import InterventionRecord
from tests.intervention.test_history import fill, path

__all__ = ["path"]  # a fixture


def test_the_file_holds_the_fields_of_a_record_and_nothing_else(path: Path) -> None:
    fill(path, 1)
    connection = sqlite3.connect(path)
    columns = {row[1] for row in connection.execute("PRAGMA table_info(attempts)")}
    connection.close()
    fields = {field.name for field in msgspec.structs.fields(InterventionRecord)}
    assert columns == fields | {"number"}


def test_migrations_go_on_from_where_a_file_is(path: Path) -> None:
    fill(path, 3)
    file = HistoryFile(path, 1.0)
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
