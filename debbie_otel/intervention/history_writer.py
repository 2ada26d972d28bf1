"""The thread that writes the history, and the bounded queue before it.

Where the file cannot be written (a full disk, a folder that may only be read) the queue is the
memory; the thread tries again from time to time, and writes what has waited once it can.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from pathlib import Path

from debbie_otel.intervention.history_damage import is_corrupt, move_aside
from debbie_otel.intervention.history_file import HistoryFile
from debbie_otel.intervention.history_schema import ForeignFileError
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.settings import HistorySettings
from debbie_otel.session.model import Clock

_logger = logging.getLogger(__name__)

PROBLEMS = (sqlite3.Error, OSError, ForeignFileError)
"""What may go wrong with the file."""

MAX_WAITING = 10_000
"""Records that wait to be written, and that are remembered where there is no file; 1 KB each."""

_BATCH = 256
_BUSY = 5.0
_RETRY, _LAST_RETRY = 0.5, 60.0


class HistoryWriter:
    """Takes records from any thread, and writes them on its own.

    The thread begins with the first record, and again with the first one after `close`.

    Args:
        path: SQLite file; None only keeps the last records.
        settings: How much is kept, and for how long.
        clock: Tells the time.

    Attributes:
        lock: Held by who needs what is pending to stay as it is.
        opened: Set unless the file is about to be opened.
        dropped: Records that were lost.
        problem: Why the file cannot be used now; empty if it can.

    """

    def __init__(self, path: Path | None, settings: HistorySettings, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.opened = threading.Event()
        self.dropped = 0
        self.problem = ""
        self._closing = False
        self._path = path
        self._settings = settings
        self._clock = clock
        self._limit = MAX_WAITING if path else min(MAX_WAITING, settings.max_records)
        self._changed = threading.Condition(self.lock)
        self._waiting: deque[InterventionRecord] = deque()
        self._under_way: list[InterventionRecord] = []
        self._suspected = False
        self._delay = _RETRY
        self._thread: threading.Thread | None = None
        self.opened.set()

    # -- on any thread -------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the file is held open."""
        return self._thread is not None

    @property
    def under_way(self) -> list[InterventionRecord]:
        """What is being written: it may be in the file already."""
        return self._under_way

    def pending(self) -> list[InterventionRecord]:
        """Return what may not be in the file yet, the oldest first."""
        with self.lock:
            return [*self._under_way, *self._waiting]

    def put(self, record: InterventionRecord) -> None:
        """Take a record; never waits for the disk."""
        with self._changed:
            self._waiting.append(record)
            if len(self._waiting) > self._limit:
                self._waiting.popleft()
                self.dropped += 1
            if self._thread is None and self._path is not None:
                self._start(self._path)
            self._changed.notify_all()

    def suspect(self) -> None:
        """Have the file looked through: a reader found it damaged."""
        with self._changed:
            self._suspected = True
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written, at most `timeout` seconds; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.pending(), timeout)

    def close(self, timeout: float) -> int:
        """Write what waits, for at most `timeout` seconds; return how many still wait after it."""
        with self._changed:
            thread, self._closing = self._thread, True
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)
        return len(self.pending()) if self._path is not None else 0

    def _start(self, path: Path) -> None:
        name = "debbie-history"
        self._closing = False
        self.opened.clear()
        self._thread = threading.Thread(target=self._run, args=(path,), name=name, daemon=True)
        self._thread.start()

    # -- on the writer's thread ------------------------------------------------------------------

    def _run(self, path: Path) -> None:
        file: HistoryFile | None = None
        going = True
        while going:
            try:
                file = self._ready(path, file)
                going = self._wait()
                file = self._ready(path, file)  # who knows what happened to it meanwhile
                self._write_some(file)
            except PROBLEMS as error:
                if file is not None:
                    file.close()
                    file = None
                going = self._failed(path, error)
            except Exception as error:  # noqa: BLE001 - records that SQLite cannot take
                self._give_up(error)
        if file is not None:
            file.close()

    def _ready(self, path: Path, file: HistoryFile | None) -> HistoryFile:
        """Return an open, sound file: the one at hand, or a new one."""
        if file is None or self._suspected or not file.in_place:
            self._suspected = False
            if file is not None:
                file.close()  # and with it its cache, which would hide the damage
            file = self._open(path)
        self._delay = _RETRY
        if self.problem:
            self.problem = ""
            _logger.info("history: %s is written again", path)
        self.opened.set()
        return file

    def _open(self, path: Path) -> HistoryFile:
        file = HistoryFile(path, _BUSY)
        try:
            file.check()
        except BaseException:
            file.close()
            raise
        return file

    def _wait(self) -> bool:
        """Wait for something to do; return False when the end has come and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._suspected)
            return self._goes_on(bool(self._waiting) or not self._closing)

    def _write_some(self, file: HistoryFile) -> None:
        with self._changed:
            take = min(len(self._waiting), _BATCH)
            self._under_way = [self._waiting.popleft() for _ in range(take)]
        if take:
            oldest = self._clock() - round(self._settings.max_age * 1e9)
            file.add(self._under_way, self._settings.max_records, oldest)
            self._done()

    def _done(self) -> None:
        with self._changed:
            self._under_way = []
            self._changed.notify_all()

    def _give_up(self, error: Exception) -> None:
        self.dropped += len(self._under_way)
        self._done()
        _logger.error("history: attempts that cannot be stored are left out", exc_info=error)

    def _failed(self, path: Path, error: Exception) -> bool:
        """Keep what was being written, and see to the file; return False at the end."""
        with self._changed:
            self._waiting.extendleft(reversed(self._under_way))
            self._under_way = []
        what = f"cannot be used ({error}); attempts are remembered in memory only"
        if is_corrupt(error):
            try:
                aside = move_aside(path, self._clock())
            except OSError as reason:
                what = f"is damaged ({error}) and cannot be moved aside ({reason})"
            else:
                if aside is not None:
                    _logger.warning("history: %s is damaged (%s); now %s", path, error, aside)
                return True
        if not self.problem:
            _logger.warning("history: %s %s", path, what)
        self.problem = what
        self.opened.set()
        return self._rest()

    def _rest(self) -> bool:
        """Wait before the next attempt; return False if the end has come."""
        with self._changed:
            ended = self._changed.wait_for(lambda: self._closing, self._delay)
            self._delay = min(2 * self._delay, _LAST_RETRY)
            return self._goes_on(not ended)

    def _goes_on(self, going: bool) -> bool:
        """Take note of the end while the lock is held: a record that comes later starts anew."""
        if not going:
            self._thread = None
        return going
