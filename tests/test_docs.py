"""What the documents refer to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EVERY = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
PATH = re.compile(
    r"`((?:debbie_otel|tests|docs|examples|benchmarks|collector|dashboards|stack)/[\w./-]*)`"
)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
MAX_WORDS = 25


def anchors(document: Path) -> set[str]:
    """The names by which GitHub links to headings."""
    plain = (
        re.sub(r"[^\w\s-]", "", title.lower()) for title in HEADING.findall(document.read_text())
    )
    return {title.replace(" ", "-") for title in plain}


@EVERY
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


@EVERY
def test_paths_that_are_named_exist(document: Path) -> None:
    for path in PATH.findall(document.read_text()):
        stands_for_any = "NAME" in path or "PART" in path
        assert stands_for_any or (ROOT / path).exists(), path


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    written = {path.name for path in folder.glob("[0-9]*.md")}
    assert set(LINK.findall((folder / "README.md").read_text())) == written
    assert [int(name[:4]) for name in sorted(written)] == list(range(1, len(written) + 1))


def test_the_glossary_is_short() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    words = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]
    assert 0 < len(words) <= MAX_WORDS
    assert len(set(words)) == len(words)


def test_the_readme_is_short() -> None:
    assert 130 <= len((ROOT / "README.md").read_text().split()) <= 700
