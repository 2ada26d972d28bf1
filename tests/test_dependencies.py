"""What pyproject.toml asks for, and what the two lists of pinned versions say, agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def pinned(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {key: Version(version) for key, version in pairs}


def required() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    return {requirement.name: requirement for requirement in wanted}


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = [s.version for s in requirement.specifier if s.operator == ">="]
    return Version(bound)


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    bounds = {name: lower_bound(requirement) for name, requirement in required().items()}
    assert pinned("constraints-lowest.txt") == bounds


def test_what_is_pinned_is_allowed() -> None:
    versions = pinned("constraints.txt")
    for name, requirement in required().items():
        assert requirement.specifier.contains(versions[name], prereleases=True), name
