"""Canonical forms: when two calls ask for the same, and two results say the same.

A value becomes a list of leaves in sorted order of their paths: members that are volatile or null
are left out, white space is folded, `5`, `5.0` and `"5"` are one. In results, words that look like
timestamps, durations or ids are blanked as well. Of that only hashes are kept, and no values,
except for short arguments as long as one tool is called again and again (see `similar`). Hashes
are those of Python: they are compared within this process alone, and a few dozen at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from debbie_otel.detection.loops.findings import LoopSettings
from debbie_otel.detection.loops.name_patterns import any_name

Leaves = tuple[str, ...]
"""Paths and texts of values, alternating."""

MAX_LEAVES = 256
MAX_DEPTH = 16
MAX_FOLDED = 4096
"""Characters of a string up to which its white space is folded."""
MAX_SHORT = 512
"""Characters of arguments up to which their leaves are kept."""
MAX_READ = 2048
"""Characters of a result's string up to which all of it is freed of volatile words."""
MAX_JSON = 16_384
"""Characters of a string that is taken for JSON in a string."""

_COMMANDS = ("command", "cmd", "script")
_WAITING = re.compile(r"(?:^|[;&|(\"']\s*)(?:sleep|wait|watch)\s|\btail\s+(?:-\w*\s+)*-\w*[fF]\b")
_DIGIT = re.compile(r"[0-9]")
_UNITS = frozenset({"s", "s.", "s,", "sec", "secs", "seconds", "seconds.", "ms", "minutes", "min"})
_BEFORE_NUMBER = re.compile(r"(?:p(?:rocess)?[ _-]?id|process|job|port)\W{0,3}$", re.IGNORECASE)
_PLACE = re.compile(r"/(?:tmp|var/folders|proc)/[^\s\"':;,)]+")
_VOLATILE = re.compile(
    r"""
      \d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?           # 2026-11-22T16:42:47.1Z
    | \d{1,2}:\d\d:\d\d(?:[.,]\d+)?                           # 16:42:47
    | \b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9}|\.\d+)?\b             # seconds to ns since 1970
    | \b\d+\.\d+\s?s(?:ec(?:onds)?)?\b | \b\d+(?:\.\d+)?(?:ms|µs|us|ns)\b | \b\d+m\d+(?:\.\d+)?s\b
    | \b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b
    | \b0[xX][0-9a-fA-F]+\b
    | \b(?=[a-f]*\d)(?=\d*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{24}|[0-9a-f]{16})\b
    | \bpid\W{0,2}\d+ | \b(?:req|request|trace|span|call|toolu|msg|chatcmpl)[_-]\w{6,}
    """,
    re.VERBOSE | re.IGNORECASE,
)


class CanonicalCall(msgspec.Struct, frozen=True, gc=False):
    """What a call asks for.

    Attributes:
        key: Hash of tool and canonical arguments.
        leaves: The arguments' leaves; None where they are long or unknown.
        waits: Whether it is a command that waits or follows something on purpose.

    """

    key: int
    leaves: Leaves | None
    waits: bool


class Canonical:
    """Reads calls and results. It has no state; use `canonical` to share one."""

    def __init__(self, settings: LoopSettings) -> None:
        self._in_arguments = any_name(settings.volatile, from_any_word=False)
        both = settings.volatile + settings.volatile_results
        self._in_results = any_name(both, from_any_word=False)

    def request(self, name: str, arguments: Any) -> CanonicalCall:
        """Return what a call asks for; arguments may be JSON in a string."""
        arguments = _decoded(arguments)
        leaves: list[str] = []
        waits = False
        if type(arguments) is dict:
            command = next((arguments[c] for c in _COMMANDS if c in arguments), None)
            if command is not None:
                waits = type(command) is str and _WAITING.search(command[:MAX_SHORT]) is not None
                # What people are told that a command does is no part of it.
                if "description" in arguments:
                    arguments = {k: v for k, v in arguments.items() if k != "description"}
        if not _walk(arguments, "", leaves, self._in_arguments, _folded, 0):
            return CanonicalCall(hash((name, _packed(arguments))), None, waits)
        text = "\x1f".join(leaves)
        short = tuple(leaves) if leaves and len(text) <= MAX_SHORT else None
        return CanonicalCall(hash((name, text)), short, waits)

    def result(self, value: Any) -> int | None:
        """Return a hash of what a result says; None where it is not known."""
        if value is None:
            return None
        leaves: list[str] = []
        if not _walk(_decoded(value), "", leaves, self._in_results, self._said, 0):
            return hash(_packed(value))
        return hash("\x1f".join(leaves))

    def _said(self, text: str) -> str:
        """Return a result's string without its volatile words."""
        if text[:1] in ("{", "["):
            inner = _decoded(text)
            if inner is not text:
                leaves: list[str] = []
                if _walk(inner, "", leaves, self._in_results, stable, 0):
                    return "\x1e".join(leaves)
        return stable(text)


@lru_cache(maxsize=64)
def canonical(settings: LoopSettings) -> Canonical:
    """Return the reader for these settings."""
    return Canonical(settings)


def stable(text: str) -> str:
    """Return a text with white space folded and volatile words blanked.

    Of a long one the middle is taken as it is, so that the cost stays bounded.
    """
    if len(text) > MAX_READ:
        head, tail = MAX_READ // 2, MAX_READ // 4
        return f"{stable(text[:head])} {hash(text[head:-tail])} {stable(text[-tail:])}"
    words = text.split()
    if _DIGIT.search(text) is None:
        return " ".join(words)
    out: list[str] = []
    for word in words:
        if word.isalpha() or _DIGIT.search(word) is None:
            # 1.25 seconds: the number before was a duration.
            if out and word in _UNITS and "." in out[-1]:
                out[-1] = "~"
            out.append(word)
        elif len(word) < 8 and word.isdigit():
            before = out[-1] if out else ""
            out.append("~" if before and _BEFORE_NUMBER.search(before) else word)
        else:
            out.append(_VOLATILE.sub("~", _PLACE.sub("~", word)))
    return " ".join(out)


def _walk(
    value: Any,
    path: str,
    leaves: list[str],
    volatile: Callable[[str], bool],
    text: Callable[[str], str],
    depth: int,
) -> bool:
    """Append the leaves of a value; return False where there are too many."""
    kind = type(value)
    if kind is str:
        leaves += (path, text(value))
    elif kind is dict:
        if depth >= MAX_DEPTH:
            return False
        for name in sorted(value):
            member = value[name]
            if member is None or volatile(name):
                continue
            if not _walk(member, f"{path}.{name}", leaves, volatile, text, depth + 1):
                return False
    elif kind is list:
        if depth >= MAX_DEPTH:
            return False
        for index, item in enumerate(value):
            if not _walk(item, f"{path}[{index}]", leaves, volatile, text, depth + 1):
                return False
    elif value is not None:
        leaves += (path, str(value) if kind is int else _scalar(value))
    return len(leaves) <= 2 * MAX_LEAVES


def _scalar(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else repr(value)[:MAX_FOLDED]


def _folded(text: str) -> str:
    """Return an argument's string with white space folded; lines keep their indentation."""
    if len(text) > MAX_FOLDED:
        return f"{len(text)} {hash(text)}"
    if "\n" in text:
        return "\n".join([line.rstrip() for line in text.strip("\r\n").split("\n")])
    folded = " ".join(text.split())
    if folded[:2] == "./" and len(folded) > 2:
        return folded[2:]
    if folded[-2:] == ".0" and folded[:-2].isdigit():
        return folded[:-2]
    return folded


def _decoded(value: Any) -> Any:
    """Return the value of JSON in a string, else the value itself."""
    if type(value) is str and value[:1] in ("{", "[") and len(value) <= MAX_JSON:
        try:
            inner = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return value
        return inner if isinstance(inner, dict | list) else value
    return value


def _packed(value: Any) -> str:
    """Return a text for a value that has too many leaves to be looked at one by one."""
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _length(value)


def _length(value: Any) -> str:
    return str(len(value)) if isinstance(value, Mapping | list | str) else ""
