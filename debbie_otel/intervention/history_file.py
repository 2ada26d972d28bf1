"""The history's SQLite file: opening, writing, reading.

WAL, so that readers and writers of several processes do not wait for each other. `synchronous` is
NORMAL: what has been committed survives the end of the process, however it ends; a power failure
may cost the last few commits but damages nothing. FULL would have every commit wait for the disk,
for records that are worth less than that.
Sources: SQLite documentation, "Write-Ahead Logging", "PRAGMA synchronous".
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.intervention.history_schema import check_owner, migrate, transaction
from debbie_otel.intervention.learning import Tally
from debbie_otel.intervention.records import InterventionRecord, InterventionResult

_FIELDS = InterventionRecord.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)


class HistoryFile:
    """An open history file. Its methods block, and raise sqlite3.Error.

    Args:
        path: Of the file; made, private, with its folder if it is missing.
        busy_timeout: Seconds to wait for another process that writes.
        read_only: Change nothing, not even the schema; the file must be there.

    Raises:
        OSError: The folder or the file cannot be made.
        sqlite3.Error: It cannot be opened; see `history_damage.is_corrupt`.
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
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    mode = "ro" if read_only else "rw"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,  # the history's lock sees to it
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
