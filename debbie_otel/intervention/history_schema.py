"""The schema of the history's SQLite file: how it came about, and whose file it is."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

APPLICATION_ID = 0x44454242  # "DEBB": whose database it is, in SQLite's header


def _tally(row: str, by: int) -> str:
    values = f"{row}.strategy, {row}.alert_type, {row}.agent, {row}.result, {by}"
    return f"""
        INSERT INTO tallies VALUES ({values}) ON CONFLICT (strategy, alert_type, agent, result)
            DO UPDATE SET count = count + excluded.count;
        DELETE FROM tallies WHERE count = 0;
    """  # noqa: S608 - our own words


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE attempts (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL,
            agent TEXT NOT NULL, dialect TEXT NOT NULL, alert_type TEXT NOT NULL,
            alert_message TEXT NOT NULL, strategy TEXT NOT NULL, attempt INTEGER NOT NULL,
            started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, result TEXT NOT NULL,
            reason TEXT NOT NULL, detail TEXT NOT NULL, recovery_seconds REAL,
            evidence TEXT NOT NULL
        )""",
        "CREATE INDEX attempts_by_session ON attempts (session_id, ended_ns)",
        "CREATE INDEX attempts_by_time ON attempts (ended_ns)",
        "CREATE INDEX attempts_recovered ON attempts (ended_ns, recovery_seconds)"
        " WHERE recovery_seconds IS NOT NULL",
        # Rates are asked for at every alert: they must not cost a walk through all attempts.
        """CREATE TABLE tallies (
            strategy TEXT, alert_type TEXT, agent TEXT, result TEXT, count INTEGER NOT NULL,
            PRIMARY KEY (strategy, alert_type, agent, result)
        ) WITHOUT ROWID""",
        f"CREATE TRIGGER added AFTER INSERT ON attempts BEGIN {_tally('new', 1)} END",
        f"CREATE TRIGGER deleted AFTER DELETE ON attempts BEGIN {_tally('old', -1)} END",
    ),
)
"""Statements by version: entry N leads from `user_version` N to N + 1. Only ever appended to."""


class ForeignFileError(Exception):
    """The file is sound, but not one that this version may write to."""


def check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ForeignFileError for a file that is another program's, or a later version's."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID and (owner or tables):
        raise ForeignFileError(f"{path} is a database of another program")
    if version > len(MIGRATIONS):
        raise ForeignFileError(f"{path} is of a later version ({version})")


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring a file's schema up to date, in one transaction."""
    if _version(connection) >= len(migrations):
        return
    with transaction(connection):
        for number in range(_version(connection), len(migrations)):  # another may have been first
            for statement in migrations[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what is done within, or nothing of it."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the error that led here is the one to tell
            connection.execute("ROLLBACK")
        raise
