"""Content that leaves the process: cut to a bound, without secrets.

Applies only where content capture was asked for. Redaction knows common shapes of keys and tokens
and the names of members that hold them; it is a second line of defence, not a promise.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from debbie_otel.session.message import loads

REDACTED = "[redacted]"
_NAMES = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|authori[sz]ation|credential|cookie|private[_-]?key",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk)-[\w-]{16,}|\bgh[pousr]_\w{20,}|\bxox[abprs]-[\w-]{10,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END|$)"
    r"|(?i:\b(?:bearer|basic)\s+[\w.~+/=-]{12,})"
    r"|(?i:\b(?:password|passwd|secret|token|api[_-]?key)\s*[=:]\s*)[^\s,;&\"']{4,}"
)


def content(value: Any, limit: int) -> str:
    """Return text or JSON without secrets, at most `limit` characters."""
    if isinstance(value, str) and value[:1] in ("{", "["):  # JSON within JSON
        value = loads(value.encode("utf-8", "replace")) or value
    text = value if isinstance(value, str) else _json(_scrub(value))
    text = _SHAPES.sub(REDACTED, text[: 2 * limit])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _scrub(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: REDACTED if isinstance(name, str) and _NAMES.search(name) else _scrub(member)
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [_scrub(member) for member in value]
    return value


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return repr(value)
