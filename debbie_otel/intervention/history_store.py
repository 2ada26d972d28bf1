"""The history's SQLite file: opening, writing, reading, and what to do where it is damaged.

WAL, so that readers and writers of several processes do not wait for each other. `synchronous` is
NORMAL: what has been committed survives the end of the process, however it ends; a power failure
may cost the last few commits but damages nothing. FULL would have every commit wait for the disk,
for records that are worth less than that.

Everything here blocks, and is called on threads that may wait, never on the event loop.
Sources: SQLite documentation, "Write-Ahead Logging", "PRAGMA synchronous", "How To Corrupt".
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.compat.platforms import locked
from debbie_otel.errors import ForeignFileError
from debbie_otel.intervention.learning import Tally
from debbie_otel.intervention.records import InterventionRecord, InterventionResult

PROBLEMS = (sqlite3.Error, OSError, ForeignFileError)
"""What may go wrong with the file."""

_FIELDS = InterventionRecord.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)

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


class HistoryStore:
    """An open history file; its methods raise sqlite3.Error.

    Args:
        path: Of the file; made, private, with its folder if it is missing.
        busy_timeout: Seconds to wait for another process that writes.
        read_only: Change nothing, not even the schema; the file must be there.

    Raises:
        OSError: The folder or the file cannot be made.
        sqlite3.Error: It cannot be opened; see `is_corrupt`.
        ForeignFileError: It is another program's, or a later version's.

    """

    def __init__(self, path: Path, busy_timeout: float, *, read_only: bool = False) -> None:
        self._path = path
        self._connection = _connect(path, busy_timeout, read_only=read_only)
        try:
            check_owner(self._connection, path)
            if not read_only:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                migrate(self._connection)
            self._inode = path.stat().st_ino
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close; the last one to close also folds the write-ahead log into the file."""
        self._connection.close()

    @property
    def in_place(self) -> bool:
        """Whether the file that is open is still the one at the path."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def check(self) -> None:
        """Look through the whole file; raises sqlite3.DatabaseError where it is damaged."""
        (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"malformed: {found}")

    # -- writing -----------------------------------------------------------------------------

    def add(self, records: Sequence[InterventionRecord], max_records: int, before_ns: int) -> None:
        """Add records and delete what is too much or too old: all of it, or nothing.

        Args:
            records: Those that are there already stay as they are.
            max_records: How many are kept; the oldest go.
            before_ns: What ended before goes, too.

        """
        places = ", ".join("?" * len(_FIELDS))
        statement = f"INSERT OR IGNORE INTO attempts ({_COLUMNS}) VALUES ({places})"  # noqa: S608
        with transaction(self._connection):
            self._connection.executemany(statement, map(_row, records))
            self._connection.execute("DELETE FROM attempts WHERE ended_ns < ?", (before_ns,))
            self._connection.execute(
                "DELETE FROM attempts WHERE number IN (SELECT number FROM attempts"
                " ORDER BY ended_ns DESC, number DESC LIMIT -1 OFFSET ?)",
                (max_records,),
            )

    # -- reading -----------------------------------------------------------------------------

    def latest(
        self, limit: int, session_id: str | None = None, since_ns: int = 0
    ) -> list[InterventionRecord]:
        """Return the last records, of one session or of all, the newest first."""
        session = "" if session_id is None else "AND session_id = ?"
        values = () if session_id is None else (session_id,)
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM attempts WHERE ended_ns >= ? {session}"  # noqa: S608 - ours
            " ORDER BY ended_ns DESC, number DESC LIMIT ?",
            (since_ns, *values, limit),
        )
        return [_record(row) for row in rows]

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return which of these records are in the file."""
        rows = self._connection.execute(
            "SELECT id FROM attempts WHERE id IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(list(ids)).decode(),),
        )
        return {id_ for (id_,) in rows}

    def tallies(self) -> list[Tally]:
        """Count the attempts by strategy, alert type, agent and result."""
        rows = self._connection.execute(
            "SELECT strategy, alert_type, agent, result, count FROM tallies"
        )
        return [
            Tally(strategy, alert_type, agent, InterventionResult(result), attempts)
            for strategy, alert_type, agent, result, attempts in rows
        ]

    def recoveries(self) -> list[float]:
        """Return the seconds that the last thousand recoveries took."""
        rows = self._connection.execute(
            "SELECT recovery_seconds FROM attempts WHERE recovery_seconds IS NOT NULL"
            " ORDER BY ended_ns DESC LIMIT 1000"
        )
        return [seconds for (seconds,) in rows]

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have several reads see the same state."""
        with transaction(self._connection, "DEFERRED"):
            yield


def _connect(path: Path, busy_timeout: float, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its other files the mode of this one. Never opened where it exists: to close
        # it would end the locks of every other connection of this process.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    mode = "ro" if read_only else "rw"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,  # a lock of the history keeps threads apart
        uri=True,
    )


# -- rows ---------------------------------------------------------------------------------------


def _row(record: InterventionRecord) -> tuple[Any, ...]:
    values = [getattr(record, name) for name in _FIELDS]
    values[_FIELDS.index("evidence")] = _json(record.evidence)
    return tuple(_storable(value) for value in values)


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):
        return "{}"  # the attempt itself must be remembered, whatever its evidence


def _storable(value: Any) -> Any:
    """Return text without lone surrogates, which UTF-8 cannot hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _record(row: tuple[Any, ...]) -> InterventionRecord:
    values = dict(zip(_FIELDS, row, strict=True))
    values["result"] = InterventionResult(values["result"])
    values["evidence"] = msgspec.json.decode(values["evidence"])
    return InterventionRecord(**values)


# -- schema --------------------------------------------------------------------------------------


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


# -- damage --------------------------------------------------------------------------------------


def is_corrupt(error: Exception) -> bool:
    """Whether an error means that the file is damaged, or no SQLite file at all."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "malformed" in str(error)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def move_aside(path: Path, time_ns: int) -> Path | None:
    """Rename a damaged file with what belongs to it; None if another process has just done so.

    Under a lock on the damaged file itself it is looked up whether it is still at its path. No
    connection to it may be open here: its locks would end with ours.
    """
    with locked(path) as current:
        if not current:
            return None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time_ns / 1e9))
        aside = _free(path, f"{path.name}.corrupt-{stamp}")
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return aside


def _free(path: Path, name: str) -> Path:
    """Return a name in the folder that is not taken."""
    candidate, number = path.with_name(name), 2
    while candidate.exists():
        candidate, number = path.with_name(f"{name}.{number}"), number + 1
    return candidate
