"""Near-duplicates: one tool called again and again with almost the same arguments.

Similar arguments alone are no loop: pages, offsets, files and ids make for a series of calls that
look alike and are honest work. So a group of similar calls counts only if no part of their
arguments runs through different values, and if no result brought anything new.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

from debbie_otel.detection.loops.canonical import Leaves
from debbie_otel.detection.loops.name_patterns import snake

Series = Literal["names", "numbers", "words"]
"""What runs through different values: names (paths, ids), words, or mere numbers: those in a
sentence, and pages and offsets, which lead nowhere if what they bring is always the same."""

_QUESTIONS = frozenset(
    {"query", "q", "search", "question", "prompt", "keywords", "pattern", "text", "message"}
)
_PLACES = frozenset(
    {"page", "page_number", "offset", "start", "skip", "from", "start_line", "line", "index"}
)
_STEM = 3
_TRIVIAL = str.maketrans("", "", "?!.,;:'\"")


def dice(a: Leaves, b: Leaves) -> float:
    """Return the Dice coefficient of the bigrams in the values of two lists of leaves, 0 to 1."""
    first, second = _joined(a), _joined(b)
    shorter, longer = sorted((len(first), len(second)))
    if shorter < 2:
        return float(first == second)
    if 2 * shorter < 1.2 * longer:  # too different in length to be worth a look
        return 0.0
    left, right = _bigrams(first), _bigrams(second)
    return 2 * len(left & right) / (len(left) + len(right))


def _joined(leaves: Leaves) -> bytes:
    return " ".join(leaves[1::2]).lower().encode("utf-8", "replace")


def _bigrams(text: bytes) -> set[int]:
    even = len(text) & ~1
    odd = 1 + (len(text) - 1 & ~1)
    return set(array("H", text[:even])) | set(array("H", text[1:odd]))


def series(group: Sequence[Leaves]) -> Series | None:
    """Return what the arguments of a group run through; None if they merely vary in wording."""
    paths = group[0][::2]
    if any(leaves[::2] != paths for leaves in group):
        return None
    found: list[Series] = []
    columns = zip(*[leaves[1::2] for leaves in group], strict=True)
    for path, values in zip(paths, columns, strict=True):
        if len(set(values)) > 1:
            kind = _series_of(values, path.rpartition(".")[2])
            if kind is not None:
                found.append(kind)
    for kind in ("names", "numbers", "words"):
        if kind in found:
            return kind
    return None


def _series_of(values: Sequence[str], member: str) -> Series | None:
    rows = [value.split() for value in values]
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        return None
    if width == 1:
        plain = [value.translate(_TRIVIAL).lower() for value in values]
        if not _all_differ(plain):
            return None
        turned = snake(member) in _PLACES and all(value.isdigit() for value in plain)
        return "numbers" if turned else "names"
    kinds: list[Series] = []
    for slot in zip(*rows, strict=True):
        words = [word.translate(_TRIVIAL).lower() for word in slot]
        if not _all_differ(words):
            continue
        if all(word.isalpha() for word in words):
            if _all_differ([word[:_STEM] for word in words]):
                kinds.append("words")
        elif member in _QUESTIONS and all(word.lstrip("v#").isdigit() for word in words):
            kinds.append("numbers")
        else:
            kinds.append("names")
    for kind in ("names", "numbers", "words"):
        if kind in kinds:
            return kind
    return None


def _all_differ(values: Sequence[str]) -> bool:
    return len(set(values)) == len(values)
