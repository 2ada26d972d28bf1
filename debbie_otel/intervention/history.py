"""InterventionHistory: every attempt, remembered beyond the end of the process.

Whoever adds a record never waits: a thread of the history's own writes. What it has not written
yet is merged into every answer, so that a record is seen as soon as it is added.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TypeVar

import msgspec

from debbie_otel.intervention.history_damage import is_corrupt
from debbie_otel.intervention.history_file import HistoryFile
from debbie_otel.intervention.history_writer import PROBLEMS, HistoryWriter
from debbie_otel.intervention.learning import Tally, Trials, success_rate, trials_of
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.settings import HistorySettings
from debbie_otel.session.model import Clock

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

_BUSY = 0.25
"""Seconds that a question may wait for another process; WAL hardly ever makes it wait."""

_FIRST_LOOK = 2.0
"""Seconds that the first question may wait for the file to be opened; none on an event loop."""


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
        self._writer = HistoryWriter(path, settings, clock)
        self._reader: HistoryFile | None = None

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
        with self._writer.lock:
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
        pending, seconds = self._ask(HistoryFile.recoveries)
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
        pending, stored = self._ask(HistoryFile.tallies)
        return stored + [Tally(r.strategy, r.alert_type, r.agent, r.result, 1) for r in pending]

    def _ask(
        self, read: Callable[[HistoryFile], list[_T]]
    ) -> tuple[list[InterventionRecord], list[_T]]:
        """Return the records that are not in the file, and what the file says."""
        if not _on_event_loop():
            self._writer.opened.wait(_FIRST_LOOK)
        # The lock keeps the writer from taking more; only what it is at may be in the file already.
        with self._writer.lock:
            stored: list[_T] = []
            known: set[str] = set()
            try:
                file = self._open_reader()
                if file is not None:
                    with file.snapshot():
                        known = file.known(record.id for record in self._writer.under_way)
                        stored = read(file)
            except PROBLEMS as error:
                _logger.debug("history: %s", error)  # the writer says it loud enough
                self._close_reader()
                if is_corrupt(error):
                    self._writer.suspect()
            if not self._writer.running:
                self._close_reader()  # who asks before the first record leaves nothing open
            pending = [
                record
                for record in self._writer.pending()
                if record.ended_ns >= self._oldest_ns() and record.id not in known
            ]
            return pending, stored

    def _oldest_ns(self) -> int:
        return self._clock() - round(self._settings.max_age * 1e9)

    def _open_reader(self) -> HistoryFile | None:
        """Return the file for reading; None where there is none, or not any more."""
        if self._reader is not None and not self._reader.in_place:
            self._close_reader()
        if self._reader is None and self.path is not None:
            self._reader = HistoryFile(self.path, _BUSY, read_only=True)
        return self._reader

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def _on_event_loop() -> bool:
    """Whether connections wait for this thread: then nothing here may wait for a disk."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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
