"""What the end of a call says: whether it failed, how, and whether another try is worth it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from debbie_otel.detection.loops.canonical import Leaves
from debbie_otel.detection.loops.name_patterns import snake
from debbie_otel.session.model import Outcome, Tool

MAX_TEXT = 1024
"""Characters of a result that are read for what it says."""
MAX_NODES = 128
MAX_ERROR = 300
"""Characters of an error that are compared."""

_TELLING = re.compile(
    r"error|exception|fail|denied|not found|no such|invalid|cannot|unable|refused|time[d -]*out",
    re.IGNORECASE,
)
_UNKNOWN_TOOL = re.compile(
    r"\b(?:unknown|no such|nonexistent|non-existent|unrecogni[sz]ed|unregistered|invalid)"
    r"\s+tool\b(?!\s+(?:input|argument|param|call id|result))"
    r"|\bno tool (?:named|called|with)\b"
    r"|\btool\b.{0,80}?(?:\bnot found\b|\b(?:does not|doesn't) exist\b"
    r"|\bnot (?:available|registered|defined|recogni[sz]ed)\b"
    r"|\b(?:is|was) (?:unknown|not (?:known|a valid|supported))\b)",
    re.IGNORECASE | re.DOTALL,
)
_UNKNOWN_FUNCTION = re.compile(
    r"\b(?:unknown|no such) (?:function|method)\b|\b(?:function|method)\b.{0,80}?\bnot found\b",
    re.IGNORECASE | re.DOTALL,
)
_TRANSIENT = re.compile(
    r"\b(?:429|502|503|504)\b|rate.?limit|too many requests|time[d -]*out|temporar|unavailable"
    r"|overloaded|\bbusy\b|\blocked\b|try again|retry|not (?:yet )?ready|\bnot yet\b"
    r"|connection (?:refused|reset)|econn",
    re.IGNORECASE,
)
_GOING_ON = (
    r"pending|queued|running|in.?progress|working|waiting|processing|building|starting|scheduled"
    r"|active|open|deploying|provisioning|creating|updating|installing|not.?ready"
)
_PENDING_STATE = re.compile(rf"(?:still )?(?:{_GOING_ON})", re.IGNORECASE)
_PENDING_TEXT = re.compile(
    rf"\b(?:status|state|phase)\W{{1,4}}(?:is )?(?:{_GOING_ON})\b|^\W*(?:{_GOING_ON})\W*$"
    r"|\bin.progress\b|\b(?:still|is|are|currently) (?:\w+ing|pending|queued)\b|\bnot yet\b"
    r"|\bnot (?:ready|finished|done|complete)|\b(?:retry|try again) later\b|\bno new \w+",
    re.IGNORECASE,
)
_STATES = ("status", "state", "phase")
_NOTHING = re.compile(
    r"^\W*$|\bno(?:thing| \w+(?: \w+)?)? (?:found|match\w*|results?)\b|\bno (?:match\w*|results?)\b"
    r"|\bempty\b|\bnot found\b|\b0 (?:results?|match\w*)\b",
    re.IGNORECASE,
)
_CHANGES = re.compile(
    r"(?:^|_)(?:add|append|apply|assign|click|create|delete|drop|edit|fill|insert|merge|modify|move"
    r"|notify|overwrite|patch|press|publish|push|put|remove|rename|replace|reply|save|send|set"
    r"|submit|touch|update|upload|upsert|write|file_change)(?:_|$)"
)
_CODES = ("exitCode", "exit_code", "returncode", "return_code")
_PLACEHOLDERS = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\S*[\d/\\]\S*|\S+\.\w+\b")
_EMPTY_WORDS = frozenset({"error", "errors", "exit", "code", "command", "failed", "with", "status"})
_WORD = re.compile(r"[^\W\d_]{3,}")


def has_failed(tool: Tool) -> bool:
    """Whether a call failed: by its outcome, or by what its result says."""
    if tool.outcome is Outcome.FAILED:
        return True
    result = tool.result
    if not isinstance(result, dict) or tool.outcome is Outcome.CANCELLED:
        return False
    if result.get("isError") is True:
        return True
    return any(type(code := result.get(name)) is int and code != 0 for name in _CODES)


def words_of(value: Any) -> str:
    """Return the text in a result, cut to a bound."""
    parts: list[str] = []
    stack: list[Any] = [value]
    left, nodes = MAX_TEXT, MAX_NODES
    while stack and left > 0 and nodes > 0:
        nodes -= 1
        item = stack.pop()
        if isinstance(item, str):
            # Of a long output, the end says more than the beginning.
            parts.append(item if len(item) <= left else item[: left // 4] + item[-left // 2 :])
            left -= len(parts[-1])
        elif isinstance(item, Mapping):
            members = list(islice(item.items(), MAX_NODES))
            stack.extend(v for k, v in reversed(members) if k not in ("type", "mimeType"))
        elif isinstance(item, list):
            stack.extend(reversed(item[:MAX_NODES]))
    return "\n".join(parts)


def error_of(tool: Tool, leaves: Leaves | None) -> tuple[str, str | None]:
    """Return the text of a failed call's error, and its general form; None without a text.

    The general form has placeholders for what differs from call to call: names, numbers, places,
    and everything that the call's own arguments say.
    """
    text = tool.error_message or words_of(tool.result)
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)][:3]
    general = " ".join(telling or lines[-1:])[:MAX_ERROR]
    for value in sorted((leaves or ())[1::2], key=len, reverse=True):
        if len(value) >= 3:
            general = general.replace(value, "~")
    general = " ".join(_PLACEHOLDERS.sub("~", general).lower().split())
    said = [word for word in _WORD.findall(general) if word not in _EMPTY_WORDS]
    return text[:MAX_ERROR], general if said else None


def says_unknown_tool(text: str, tool: Tool) -> bool:
    """Whether an error says that there is no such tool."""
    if tool.error_type == "-32601" or _UNKNOWN_TOOL.search(text):
        return True
    return tool.name in text and _UNKNOWN_FUNCTION.search(text) is not None


def says_transient(text: str) -> bool:
    """Whether an error may go away by itself."""
    return _TRANSIENT.search(text) is not None


def says_pending(result: Any) -> bool:
    """Whether a result says that something is still going on, so that asking again is right."""
    if isinstance(result, Mapping):
        for name in _STATES:
            state = result.get(name)
            if isinstance(state, str) and _PENDING_STATE.fullmatch(state[:64]):
                return True
    text = words_of(result)
    return len(text) <= 160 and _PENDING_TEXT.search(text) is not None


def says_much(result: Any) -> bool:
    """Whether a result has contents, rather than saying that there is nothing."""
    text = words_of(result)
    return len(text) >= 40 and _NOTHING.search(text[:200]) is None


@lru_cache(maxsize=4096)
def changes_things(name: str, kind: str | None) -> bool:
    """Whether a tool is one that changes something, by its name: then "done" is no repetition."""
    return _CHANGES.search(snake(f"{name} {kind or ''}")) is not None
