"""`debbie report`: from the files in the data directory, after the fact."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from debbie_otel.report.text import escape
from tests.integration.command import debbie
from tests.intervention.attempts import attempt
from tests.play import recording
from tests.report.stories import filled_history, played, read_back, written


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Telemetry files of a recording, and an attempt in one of its sessions."""
    folder = tmp_path / "data"
    written(recording("aiwhisperer"), folder)
    history = filled_history(folder / "history.sqlite3", {"session_id": session_of(folder)})
    history.add(attempt(session_id="long gone", detail="Once upon a time."))
    history.close()
    return folder


def session_of(folder: Path) -> str:
    (found,) = [found.session_id for found in read_back(folder) if found.turns]
    return found


def test_all_sessions(data_dir: Path) -> None:
    done = debbie("report", data_dir=data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Debbie's report\n")
    assert f"From {data_dir / 'traces.jsonl'}, {data_dir / 'history.sqlite3'}." in done.stdout
    assert session_of(data_dir) in done.stdout
    assert "Call sendUserMessage failed 4 of 16 times" in done.stdout
    assert "Once upon a time." in done.stdout


def test_one_session(data_dir: Path) -> None:
    done = debbie("report", session_of(data_dir), data_dir=data_dir)
    assert done.returncode == 0
    assert "## Response times" in done.stdout
    assert "Once upon a time." not in done.stdout
    gone = debbie("report", "long gone", data_dir=data_dir)
    assert gone.returncode == 0
    assert "Once upon a time." in gone.stdout
    assert session_of(data_dir) not in gone.stdout


def test_a_page(data_dir: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = debbie("report", "--html", str(page), data_dir=data_dir)
    assert (done.returncode, done.stdout) == (0, f"The report is in {page}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert session_of(data_dir) in page.read_text()


def test_it_changes_nothing(data_dir: Path) -> None:
    before = {path: path.read_bytes() for path in data_dir.iterdir()}
    assert debbie("report", data_dir=data_dir).returncode == 0
    left = {path: path.read_bytes() for path in data_dir.iterdir() if path.suffix != ".sqlite3-shm"}
    assert {path: data for path, data in left.items() if path in before} == before


def test_while_somebody_writes(data_dir: Path) -> None:
    other = sqlite3.connect(data_dir / "history.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert debbie("report", data_dir=data_dir).returncode == 0
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_what_a_program_was_told_is_what_the_files_tell_later(tmp_path: Path) -> None:
    live = await played("aiwhisperer", tmp_path)
    (session,) = [found for found in live.report().sessions if found.metrics.turns]
    done = debbie("report", session.session_id, data_dir=tmp_path)
    assert done.returncode == 0
    for recommendation in session.recommendations:
        assert f"- {escape(recommendation.text)}\n" in done.stdout
    assert len(session.recommendations) > 1
    metrics = session.metrics
    assert metrics.messages == 150
    row = next(line for line in done.stdout.splitlines() if line.startswith("| Messages "))
    assert row.split()[3] == "150"


def garble_traces(data_dir: Path) -> None:
    (data_dir / "traces.jsonl").write_text("no telemetry\n")


def garble_history(data_dir: Path) -> None:
    (data_dir / "history.sqlite3").write_text("no history\n" * 100)


def remove_all(data_dir: Path) -> None:
    for path in data_dir.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "arguments", "complaint"),
    [
        (remove_all, (), "nothing to report"),
        (remove_all, ("some session",), "some session: no such session"),
        (None, ("no such one",), "no such one: no such session"),
        (garble_traces, (), "traces.jsonl: holds no OTLP JSON lines"),
        (garble_history, (), "history.sqlite3: cannot be read: file is not a database"),
        (
            None,
            ("--html", "/no/such/folder/report.html"),
            "--html: /no/such/folder/report.html: No such",
        ),
        (None, ("--config", "/no/such.toml"), "/no/such.toml: cannot be read"),
        (None, ("one", "two"), "two"),
    ],
)
def test_what_is_wrong_gets_one_line(
    spoil: object, arguments: tuple[str, ...], complaint: str, data_dir: Path
) -> None:
    if callable(spoil):
        spoil(data_dir)
    done = debbie("report", *arguments, data_dir=data_dir)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr


def test_its_help(tmp_path: Path) -> None:
    done = debbie("report", "--help", data_dir=tmp_path)
    assert "[SESSION_ID]" in done.stdout
    assert "--html FILE" in done.stdout
