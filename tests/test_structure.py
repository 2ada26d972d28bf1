"""How the tests are laid out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

TEST_FILES = sorted(TESTS.rglob("test_*.py"))


def imported_tests(source: str) -> set[str]:
    """Return the test files that a source imports, or imports from, by their dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            found |= {prefix} | {f"{prefix}.{alias.name}" for alias in node.names}
    files = {file.stem for file in TEST_FILES}
    return {name for name in found if name.rpartition(".")[2] in files}


@pytest.mark.parametrize(
    "source",
    [
        "import tests.test_structure",
        "from tests.test_structure import TESTS",
        "from tests import test_structure",
        "from .test_structure import TESTS",
        "def late():\n    from tests.test_structure import TESTS",
    ],
)
def test_an_import_of_a_test_is_found(source: str) -> None:
    assert imported_tests(source)


def test_no_test_is_imported() -> None:
    """What tests share is in modules that are no tests."""
    imported = {
        str(file.relative_to(TESTS)): names
        for file in sorted(TESTS.rglob("*.py"))
        if (names := imported_tests(file.read_text()))
    }
    assert imported == {}
