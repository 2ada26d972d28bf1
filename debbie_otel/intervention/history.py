"""InterventionHistory: every attempt, remembered beyond the end of the process.

Adding a record never waits: a thread of the history's own writes to the file (`history_store`).
What it has not written yet is merged into every answer: a record is seen as soon as it is added.
Where the file cannot be written (a full disk, a folder that may only be read) that bounded queue is
the memory; the thread tries again from time to time, and writes what has waited once it can.

Questions read the file, and so belong on a thread that may wait for a disk (`asyncio.to_thread`).
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TypeVar

import msgspec

from debbie_otel.intervention.history_store import (
    PROBLEMS,
    HistoryStore,
    is_corrupt,
    move_aside,
)
from debbie_otel.intervention.intervention_config import HistorySettings
from debbie_otel.intervention.learning import Tally, Trials, success_rate, trials_of
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.session.model import Clock

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_WAITING = 10_000
"""Records that wait to be written, and that are remembered where there is no file; 1 KB each."""

_BUSY = 0.25
"""Seconds that a question may wait for another process; WAL hardly ever makes it wait."""

_BUSY_WRITING = 5.0
_BATCH = 256
_RETRY, _LAST_RETRY = 0.5, 60.0


class Figures(msgspec.Struct, frozen=True):
    """Attempts of one kind.

    Attributes:
        results: How many there were by result.
        success_rate: 0 to 1, a partial success as half; None where nothing was tried.

    """

    results: dict[InterventionResult, int]
    success_rate: float | None

    @property
    def attempts(self) -> int:
        """All of them."""
        return sum(self.results.values())


class HistoryStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the history holds.

    Attributes:
        total: All attempts.
        by_strategy, by_alert_type: The same, apart.
        recovery_seconds: Median time to recover, of the last thousand; None without a recovery.
        path: The file; None in memory.
        dropped: Records that were lost, as too many waited.
        problem: Why the file cannot be used now; empty if it can.

    """

    total: Figures
    by_strategy: dict[str, Figures]
    by_alert_type: dict[str, Figures]
    recovery_seconds: float | None
    path: Path | None
    dropped: int
    problem: str


class InterventionHistory:
    """Attempts, and what they say about strategies. Safe on any thread.

    It answers after `close` too; what is added then opens the file again.

    Args:
        path: SQLite file; None remembers the last attempts in memory.
        settings: How much is kept, and for how long.
        clock: Tells the time, on the same scale as the records.

    """

    def __init__(self, path: Path | None, settings: HistorySettings, clock: Clock) -> None:
        self.path = path
        self._settings = settings
        self._clock = clock
        self._writer = _Writer(path, settings, clock)
        self._reading = threading.Lock()  # held while the file is read
        self._reader: HistoryStore | None = None

    # -- adding ------------------------------------------------------------------------------

    def add(self, record: InterventionRecord) -> None:
        """Remember an attempt; does not wait for the disk."""
        self._writer.put(record)

    def flush(self, timeout: float) -> bool:
        """Wait until everything is on disk, at most `timeout` seconds; return whether it is."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for at most `timeout` seconds, and close the file. Once is enough."""
        left = self._writer.close(timeout)
        if left:
            _logger.warning("history: %d attempts could not be written to %s", left, self.path)
        with self._reading:
            self._close_reader()

    # -- questions ---------------------------------------------------------------------------

    def session(self, session_id: str, limit: int = 100) -> list[InterventionRecord]:
        """Return the last attempts in a session, the newest first."""
        return self._latest(limit, session_id)

    def recent(self, limit: int = 100) -> list[InterventionRecord]:
        """Return the last attempts in any session, the newest first."""
        return self._latest(limit, None)

    def success_rate(
        self,
        strategy: str | None = None,
        alert_type: str | None = None,
        agent: str | None = None,
    ) -> float | None:
        """Return the share of attempts that succeeded, 0 to 1; a partial success is half a one.

        Attempts that were skipped or escalated do not count; None where no attempt counts.
        """
        return success_rate(self.trials(strategy, alert_type, agent))

    def trials(
        self,
        strategy: str | None = None,
        alert_type: str | None = None,
        agent: str | None = None,
    ) -> list[Trials]:
        """Return what was tried, by strategy, alert type and agent; None stands for all."""
        return [
            found
            for found in trials_of(self._tallies())
            if strategy in (None, found.strategy)
            and alert_type in (None, found.alert_type)
            and agent in (None, found.agent)
        ]

    def statistics(self) -> HistoryStatistics:
        """Return counts and rates."""
        tallies = self._tallies()
        pending, seconds = self._ask(HistoryStore.recoveries)
        seconds += [r.recovery_seconds for r in pending if r.recovery_seconds is not None]
        writer = self._writer
        return statistics_of(tallies, seconds, self.path, writer.dropped, writer.problem)

    # -- reading -----------------------------------------------------------------------------

    def _latest(self, limit: int, session_id: str | None) -> list[InterventionRecord]:
        oldest = self._oldest_ns()
        pending, stored = self._ask(lambda file: file.latest(limit, session_id, oldest))
        # The newest first, also of those that ended at the same time.
        found = [*reversed([r for r in pending if session_id in (None, r.session_id)]), *stored]
        found.sort(key=lambda record: -record.ended_ns)
        return found[:limit]

    def _tallies(self) -> list[Tally]:
        pending, stored = self._ask(HistoryStore.tallies)
        return stored + [Tally(r.strategy, r.alert_type, r.agent, r.result, 1) for r in pending]

    def _ask(
        self, read: Callable[[HistoryStore], list[_T]]
    ) -> tuple[list[InterventionRecord], list[_T]]:
        """Return the records that are not in the file, and what the file says."""
        stored: list[_T] = []
        known: set[str] = set()
        with self._reading:
            # What waits is looked at first: if it is written meanwhile, the file knows it.
            pending = self._writer.pending()
            try:
                file = self._open_reader()
                if file is not None:
                    with file.snapshot():
                        known = file.known(record.id for record in pending)
                        stored = read(file)
            except PROBLEMS as error:
                _logger.debug("history: %s", error)  # the writer warns of it
                known, stored = set(), []
                self._close_reader()
                if is_corrupt(error):
                    self._writer.suspect()
            if not self._writer.running:
                self._close_reader()  # a question before the first record leaves nothing open
        oldest = self._oldest_ns()
        return [r for r in pending if r.ended_ns >= oldest and r.id not in known], stored

    def _oldest_ns(self) -> int:
        return self._clock() - round(self._settings.max_age * 1e9)

    def _open_reader(self) -> HistoryStore | None:
        """Return the file for reading; None where there is none, or not any more."""
        if self._reader is not None and not self._reader.in_place:
            self._close_reader()
        if self._reader is None and self.path is not None:
            self._reader = HistoryStore(self.path, _BUSY, read_only=True)
        return self._reader

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class _Writer:
    """Takes records from any thread, and writes them on its own.

    The thread begins with the first record, and again with the first one after `close`.

    Args:
        path: SQLite file; None only keeps the last records.
        settings: How much is kept, and for how long.
        clock: Tells the time.

    Attributes:
        dropped: Records that were lost.
        problem: Why the file cannot be used now; empty if it can.

    """

    def __init__(self, path: Path | None, settings: HistorySettings, clock: Clock) -> None:
        self.dropped = 0
        self.problem = ""
        self._closing = False
        self._path = path
        self._settings = settings
        self._clock = clock
        self._limit = MAX_WAITING if path else min(MAX_WAITING, settings.max_records)
        self._changed = threading.Condition()  # never held while the disk is at work
        self._waiting: deque[InterventionRecord] = deque()
        self._under_way: list[InterventionRecord] = []
        self._suspected = False
        self._delay = _RETRY
        self._thread: threading.Thread | None = None

    # -- on any thread -------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the file is held open."""
        return self._thread is not None

    def pending(self) -> list[InterventionRecord]:
        """Return what may not be in the file yet, the oldest first."""
        with self._changed:
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
        self._thread = threading.Thread(target=self._run, args=(path,), name=name, daemon=True)
        self._thread.start()

    # -- on the writer's thread ------------------------------------------------------------------

    def _run(self, path: Path) -> None:
        file: HistoryStore | None = None
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

    def _ready(self, path: Path, file: HistoryStore | None) -> HistoryStore:
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
        return file

    def _open(self, path: Path) -> HistoryStore:
        file = HistoryStore(path, _BUSY_WRITING)
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

    def _write_some(self, file: HistoryStore) -> None:
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


# -- statistics ----------------------------------------------------------------------------------


def statistics_of(
    tallies: list[Tally],
    recoveries: list[float],
    path: Path | None,
    dropped: int = 0,
    problem: str = "",
) -> HistoryStatistics:
    """Make statistics of counts and of the seconds that recoveries took."""
    return HistoryStatistics(
        total=_figures(tallies),
        by_strategy=_grouped(tallies, lambda tally: tally.strategy),
        by_alert_type=_grouped(tallies, lambda tally: tally.alert_type),
        recovery_seconds=median(recoveries) if recoveries else None,
        path=path,
        dropped=dropped,
        problem=problem,
    )


def _grouped(tallies: Iterable[Tally], name: Callable[[Tally], str]) -> dict[str, Figures]:
    groups: dict[str, list[Tally]] = {}
    for tally in tallies:
        groups.setdefault(name(tally), []).append(tally)
    return {name: _figures(group) for name, group in sorted(groups.items())}


def _figures(tallies: list[Tally]) -> Figures:
    results: Counter[InterventionResult] = Counter()
    for tally in tallies:
        results[tally.result] += tally.attempts
    return Figures(dict(results), success_rate(trials_of(tallies)))
