"""Debbie's own failures: swallowed and counted, except under its own tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from debbie_otel import errors
from debbie_otel.errors import FailOpen

_TESTS_OF_A_USER = """
from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.session.events import MessageSeen
from debbie_otel.wire.direction import MessageDirection


def test_a_program_that_embeds_debbie(tmp_path):
    debbie = DebbieDebugger(Config(), telemetry=False)
    seen = []

    def fails(event):
        seen.append(event)
        raise ZeroDivisionError("a subscriber of the program's")

    debbie.monitor.subscribe(fails, MessageSeen)
    interceptor = debbie.interceptor()
    interceptor.message_received(MessageDirection.CLIENT_TO_SERVER, b'{"id":1,"method":"x"}', 1)
    assert seen
"""


def test_the_tree_at_the_head_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<depth>[│├└─ ]*)(?P<name>[A-Z]\w+(Error|First))\b", line)
        if found is not None:
            above = [*above[: len(found["depth"]) // 4], found["name"]]
            drawn[found["name"]] = above[-2] if len(above) > 1 else "Exception"
    there = {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert drawn == there


def test_every_exception_of_the_package_is_in_the_tree() -> None:
    """But for those that never leave their module, and those of the demo's agent."""
    package = Path(errors.__file__).parent
    elsewhere = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                if any(re.search(r"(Error|Exception)$", base) for base in bases):
                    elsewhere.append(str(path.relative_to(package)))
    assert {place.split("/")[0] for place in elsewhere} == {"errors.py", "demo"}


def test_a_failure_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    failed: list[str] = []
    guard = FailOpen(failed.append, strict=False)
    for _ in range(3):
        with guard("a test"):
            raise ZeroDivisionError
    assert failed == ["a test"] * 3
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_strict_guard_raises() -> None:
    with pytest.raises(ZeroDivisionError), FailOpen(strict=True)("a test"):
        raise ZeroDivisionError


def test_the_tests_of_a_program_that_embeds_debbie_are_no_reason_to_raise(tmp_path: Path) -> None:
    (tmp_path / "test_program.py").write_text(_TESTS_OF_A_USER)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
