"""What Debbie does on a platform without what only POSIX has."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from debbie_otel.compat.platforms import keep_private, locked, open_private
from tests.play import DATA

ROOT = Path(__file__).parents[2]
RECORDING = DATA / "acp" / "transcript.jsonl"

POSIX_ONLY = {
    "debbie_otel/compat/platforms.py": "asks at run time what is there",
    "debbie_otel/intervention/scripts/_launch.py": "never started where processes have no limits",
}
"""Files that may use names which Windows does not have, and why."""


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def without_posix(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("without_posix")
    printed = run("-W", "error", "-m", "tests.without_posix", str(folder), str(RECORDING))
    return json.loads(printed.splitlines()[-1])


def test_every_module_can_be_imported(without_posix: Any) -> None:
    assert without_posix["not_importable"] == {}


def test_a_recording_is_replayed_with_the_same_result(without_posix: Any, tmp_path: Path) -> None:
    replayed = without_posix["replay"]
    assert replayed["code"] == 0, replayed
    assert replayed["output"] == run("-m", "debbie_otel", "replay", str(RECORDING), "--json")


def test_a_connection_in_the_program_is_observed_and_reported(without_posix: Any) -> None:
    report = without_posix["report"]
    assert report["code"] == 0, report
    assert "| greet  |     1 |      0 |" in report["output"]


def test_the_other_files_work(without_posix: Any) -> None:
    assert without_posix["recorded"] == 2
    assert without_posix["aside"].startswith("history.sqlite3.corrupt-")


def test_a_signal_stops_it(without_posix: Any) -> None:
    assert without_posix["stopped"] is True


def test_what_cannot_be_done_is_said(without_posix: Any) -> None:
    assert without_posix["script"] == "this platform cannot limit what a script uses"
    assert without_posix["unix_socket"].startswith(
        "--listen: this platform has no Unix-domain sockets"
    )


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_names_of_other_platforms_are_used_in_one_place(platform: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    printed = run(
        *("-m", "mypy", "--platform", platform, "--cache-dir", str(tmp_path)),
        *("--no-error-summary", "--hide-error-context", "--no-pretty", "debbie_otel"),
    )
    elsewhere = [line for line in printed.splitlines() if line.partition(":")[0] not in POSIX_ONLY]
    assert elsewhere == []


def test_a_lock_tells_whether_its_file_is_still_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with locked(file) as current:
        assert not current
    file.touch()
    with locked(file) as current, file.open() as again:
        assert current
        with pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.rename(tmp_path / "aside")


def test_a_private_file_is_private(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o644)
    handle = open_private(file, os.O_RDWR)
    keep_private(handle)
    os.close(handle)
    os.close(open_private(tmp_path / "new", os.O_RDWR | os.O_CREAT))
    assert [path.stat().st_mode & 0o777 for path in (file, tmp_path / "new")] == [0o600, 0o600]
