"""Each example runs by itself, as a user would run it, and says what it is to show."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

SHOWN = {
    "proxy_before_a_server.py": [
        "Tool execution: list_rfcs",
        "Turn 4 failed: null_response",
        "5 answers, 3 tools",
    ],
    "dropin_client.py": ["[DEBBIE] Session started: ", "4 messages seen"],
    "instrumented_server.py": [
        "span tools/call add [SERVER]",
        "span tools/call add [CLIENT]",
        "2 + 3 = 5",
    ],
    "own_dialect/kitchen.py": [
        "[DEBBIE] Session started: kitchen-1",
        "Tool execution: bake",
        "kitchen: 2 tools, 1 bad",
    ],
    "own_rule.py": [
        "alert: crowded (high): last of shop.queue.length is 12, above 10",
        "resolved: crowded",
    ],
    "own_strategy.py": [
        "Intervention triggered: CUSTOM:COACH",
        "agent: The report is written",
        "custom:coach: success, after 0.",
    ],
    "usage_example.py": [
        "Intervention triggered: PROMPT_INJECTION",
        "agent: The report is written",
        "# Debbie's report",
        "- session_stall fired once",
    ],
}


def test_every_example_is_tried() -> None:
    found = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert found == SHOWN.keys()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All of them at once: mostly they wait."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    with contextlib.ExitStack() as stack:
        started = {}
        for example in SHOWN:
            folder = tmp_path_factory.mktemp("example")
            started[example] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "error", EXAMPLES / example],
                    env=environ | {"DEBBIE_DATA_DIR": str(folder)},
                    cwd=folder,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(started[example].kill)
        yield started


@pytest.mark.parametrize("example", SHOWN)
def test_the_example(example: str, runs: dict[str, subprocess.Popen[str]]) -> None:
    said, complained = runs[example].communicate(timeout=60)
    assert runs[example].returncode == 0, complained
    assert complained == ""
    places = [said.find(words) for words in SHOWN[example]]
    assert -1 not in places, said
    assert places == sorted(places), said
