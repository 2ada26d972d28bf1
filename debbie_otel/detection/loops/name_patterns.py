"""Sets of names given by patterns, compared in one spelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN = re.compile(r"[^a-z0-9]+")
MAX_NAME = 200


def snake(name: str) -> str:
    """Return a name in lower case with single underscores between its words."""
    return _BETWEEN.sub("_", _CAMEL.sub("_", name[:MAX_NAME]).lower()).strip("_")


@lru_cache(maxsize=64)
def any_name(patterns: tuple[str, ...], *, from_any_word: bool) -> Callable[[str], bool]:
    """Return a test for names, shared by all that have the same patterns.

    Args:
        patterns: Globs; those that begin with `!` are exceptions.
        from_any_word: Whether a glob may match the end of a name, from the start of a word on.

    """
    wanted = _either([p for p in patterns if not p.startswith("!")], from_any_word)
    exempt = _either([p[1:] for p in patterns if p.startswith("!")], from_any_word)

    @lru_cache(maxsize=4096)
    def matches(name: str) -> bool:
        spelled = snake(name)
        return wanted.match(spelled) is not None and exempt.match(spelled) is None

    return matches


def _either(patterns: list[str], from_any_word: bool) -> re.Pattern[str]:
    if not patterns:
        return re.compile(r"(?!)")
    lead = "(?:.*_)?" if from_any_word else ""
    return re.compile(lead + "(?:" + "|".join(translate(p.strip("_")) for p in patterns) + ")")
