"""The public names: one list, which documentation and type checkers agree with, loaded by need."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import debbie_otel

PACKAGE = Path(debbie_otel.__file__).parent
DOCUMENTED = PACKAGE.parent / "docs" / "in-process.md"


def imported_for_checkers() -> dict[str, str]:
    """The imports that a type checker reads instead of the list: name -> module."""
    module = ast.parse((PACKAGE / "__init__.py").read_text())
    return {
        alias.name: node.module.removeprefix("debbie_otel.")
        for block in module.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
        if alias.asname == alias.name
    }


def test_a_type_checker_sees_the_names_that_there_are() -> None:
    assert imported_for_checkers() == debbie_otel._HOMES
    assert debbie_otel.__all__ == sorted(debbie_otel._HOMES)


def test_the_names_are_those_of_the_documentation() -> None:
    section = DOCUMENTED.read_text().partition("## Public names")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == debbie_otel.__all__


@pytest.mark.parametrize("name", debbie_otel.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(debbie_otel, name).__doc__


def loaded_by(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter has after a statement."""
    script = f"import sys, debbie_otel\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("MessageDirection", {"wire"}),
        ("MessageType", {"session", "wire"}),
        ("Dialect", {"session", "wire"}),
        ("AnomalyAlert", {"detection", "session", "wire"}),
        ("InterventionConfig", {"intervention"}),
        ("ConfigurationError", set()),
        ("MonitoringMetrics", {"report"}),
        ("InterventionHistory", {"intervention", "session", "wire"}),
        ("MonitoringEvent", {"app", "detection", "intervention", "session", "wire"}),
    ],
)
def test_a_name_loads_only_what_it_needs(name: str, parts: set[str]) -> None:
    loaded = loaded_by(f"debbie_otel.{name}")
    found = {module.split(".")[1] for module in loaded if module.startswith("debbie_otel.")}
    assert found - {"errors", "compat"} <= parts
    assert not {"opentelemetry", "rich", "httpx", "psutil", "websockets", "grpc"} & loaded
    assert len([module for module in loaded if module.startswith("debbie_otel.")]) <= 50


def test_the_configuration_needs_no_telemetry() -> None:
    loaded = loaded_by("import debbie_otel.app.config")
    assert not {"opentelemetry", "asyncio", "rich", "httpx", "psutil", "sqlite3"} & loaded


def test_a_monitor_needs_no_sdk() -> None:
    assert not {"opentelemetry", "websockets"} & loaded_by("debbie_otel.DebbieMonitor")


def test_all_names_can_be_imported_at_once() -> None:
    script = (
        "import debbie_otel\n"
        "assert set(debbie_otel.__all__) <= set(dir(debbie_otel))\n"
        "assert not hasattr(debbie_otel, 'Nobody')\n"
        "from debbie_otel import *\n"
        "assert DebbieFactory.__module__ == 'debbie_otel.app.factory'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
