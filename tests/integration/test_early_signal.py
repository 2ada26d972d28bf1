"""A signal that comes while a command is only just being imported."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.command import LIMIT, command, environment

PROXY = ("proxy", "--upstream", "ws://127.0.0.1:1", "--listen", "127.0.0.1:0")


def ended_at(imported: str, number: signal.Signals, *arguments: str, data_dir: Path) -> int:
    """Send a signal when a module has been imported; return the exit code.

    Nothing may be said but what `-X importtime` says, by which the moment is known.
    """
    python, *rest = command(*arguments)
    process = subprocess.Popen(
        [python, "-X", "importtime", *rest],
        env=environment(data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.endswith(f" {imported}\n"):
                    break
            process.send_signal(number)
            out, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert [line for line in err.splitlines() if not line.startswith("import time:")] == []
    assert out == ""
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("imported", ["asyncio", "msgspec", "debbie_otel.app.debugger"])
def test_the_proxy_ends_as_it_does_later(
    imported: str, number: signal.Signals, tmp_path: Path
) -> None:
    assert ended_at(imported, number, *PROXY, data_dir=tmp_path) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_another_command_has_not_come_to_its_end(number: signal.Signals, tmp_path: Path) -> None:
    assert ended_at("msgspec", number, "check", data_dir=tmp_path) == 130
