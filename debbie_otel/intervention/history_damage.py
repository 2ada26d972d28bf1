"""What to do with a history file that is damaged: tell, and move it out of the way.

Source: SQLite documentation, "How To Corrupt".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path


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

    Whoever holds the lock on the damaged file itself looks whether it is still at its path. No
    connection to it may be open here: its locks would end with ours.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if path.stat().st_ino != os.fstat(handle).st_ino:
                return None
        except FileNotFoundError:
            return None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time_ns / 1e9))
        aside = _free(path, f"{path.name}.corrupt-{stamp}")
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    finally:
        os.close(handle)
    return aside


def _free(path: Path, name: str) -> Path:
    """Return a name in the folder that is not taken."""
    candidate, number = path.with_name(name), 2
    while candidate.exists():
        candidate, number = path.with_name(f"{name}.{number}"), number + 1
    return candidate
