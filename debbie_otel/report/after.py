"""`debbie report`: what the files tell after the fact."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from debbie_otel.errors import ConfigurationError, ForeignFileError
from debbie_otel.intervention.history import HistoryStatistics, statistics_of
from debbie_otel.intervention.history_store import HistoryStore
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.report.analysis import analyze
from debbie_otel.report.document import Report
from debbie_otel.report.page import render_page
from debbie_otel.report.readback import read_sessions, trace_files
from debbie_otel.session.record import SessionRecord

_BUSY = 2.0
_RECORDS = 10_000
_SHOWN = 50


def report_of_files(data_dir: Path, history: Path, session_id: str | None, now_ns: int) -> Report:
    """Read a report from the files of a data directory.

    Args:
        data_dir: Where telemetry is written to files.
        history: The file of interventions; it need not be there.
        session_id: The only session that is wanted; None for all.
        now_ns: Nanoseconds since the epoch.

    Raises:
        ConfigurationError: A file cannot be read, nothing is there, or the session is unknown.

    """
    try:
        files = trace_files(data_dir)
    except OSError as error:
        raise ConfigurationError(str(data_dir), f"cannot be read: {error.strerror}") from None
    sessions = read_sessions(files, session_id)
    records, statistics = _read_history(history, session_id)
    known = {facts.session_id for facts in sessions}
    if session_id is not None and session_id not in known:
        if not records:
            raise ConfigurationError(session_id, f"no such session in {data_dir}")
        sessions = [_known_by(records)]
    if not sessions and not records:
        what = "nothing to report: no telemetry files and no interventions"
        hint = "telemetry that goes to a collector is to be looked at there"
        raise ConfigurationError(str(data_dir), what, hint)
    return Report(
        created_ns=now_ns,
        sources=tuple(str(path) for path in (*files, *([history] if statistics else []))),
        sessions=tuple(
            analyze(facts, [r for r in records if r.session_id == facts.session_id], now_ns)
            for facts in sessions
        ),
        statistics=statistics,
        interventions=tuple(records[:_SHOWN]),
    )


def write_page(report: Report, path: Path) -> None:
    """Write a report as an HTML file.

    Raises:
        ConfigurationError: The file cannot be written.

    """
    try:
        path.write_text(render_page(report), encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError("--html", f"{path}: {error.strerror}") from None


def _read_history(
    path: Path, session_id: str | None
) -> tuple[list[InterventionRecord], HistoryStatistics | None]:
    """Return the last records, the newest first, and the statistics of all; changes nothing."""
    if not path.exists():
        return [], None
    try:
        file = HistoryStore(path, _BUSY, read_only=True)
        try:
            records = file.latest(_RECORDS, session_id)
            return records, statistics_of(file.tallies(), file.recoveries(), path)
        finally:
            file.close()
    except (sqlite3.Error, OSError, ForeignFileError) as error:
        raise ConfigurationError(str(path), f"cannot be read: {error}") from None


def _known_by(records: Iterable[InterventionRecord]) -> SessionRecord:
    """Return what interventions alone tell of a session."""
    last, *_ = records
    return SessionRecord(session_id=last.session_id, dialect=last.dialect, agent=last.agent)
