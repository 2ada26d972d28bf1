"""What fails in a session, and how? Reads a snapshot on stdin, prints findings as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

Finding = dict[str, Any]

_AGAIN = 2
_HINTS = {
    "429": "the model's provider limits the rate",
    "-32601": "the method does not exist there",
    "-32602": "the parameters are wrong",
    "-32603": "the server has an internal error",
    "-32700": "the message is no JSON",
    "timeout": "it takes longer than its caller waits",
    "unknown_tool": "there is no such tool",
}
"""What an `error.type` says, by a part of it."""


def diagnose(session: dict[str, Any]) -> list[Finding]:
    """Return findings, the most frequent error first."""
    steps = [item for item in session["recent"] if item["outcome"] in ("completed", "failed")]
    return [*_by_error(steps), *_since(steps), *_cut_off(session["recent"])]


def _by_error(steps: list[Any]) -> list[Finding]:
    failed = Counter((i["name"], i["error"] or "error") for i in steps if i["outcome"] == "failed")
    tried = Counter(item["name"] for item in steps)
    found = []
    for (name, error), count in failed.most_common():
        hint = next((text for part, text in _HINTS.items() if part in error.lower()), "")
        text = f"{name} failed {count} of {tried[name]} times with {error}"
        text += f": {hint}" if hint else ""
        cause = "always_fails" if count == tried[name] >= _AGAIN else "fails"
        found.append(_finding(cause, text, count, name, error))
    return found


def _since(steps: list[Any]) -> list[Finding]:
    """Tell since when everything fails, if it does."""
    row = 0
    for item in reversed(steps):
        if item["outcome"] != "failed":
            break
        row += 1
    if row < _AGAIN:
        return []
    first = steps[-row]
    text = f"every step has failed for {first['ago']:.0f} s ({row} in a row), first {first['name']}"
    return [_finding("nothing_succeeds", text, row, first["name"], first["error"])]


def _cut_off(recent: list[Any]) -> list[Finding]:
    cut = Counter(item["name"] for item in recent if item["outcome"] == "aborted")
    return [
        _finding("cut_off", f"{name} was cut off {count} times", count, name, None)
        for name, count in cut.most_common(3)
    ]


def _finding(cause: str, text: str, value: int, subject: str, error: str | None) -> Finding:
    return {"cause": cause, "text": text, "value": value, "subject": subject, "error": error}


if __name__ == "__main__":
    findings = diagnose(json.load(sys.stdin))
    summary = findings[0]["text"] if findings else "nothing has failed of late"
    json.dump({"findings": findings, "summary": summary}, sys.stdout)
