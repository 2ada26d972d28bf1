"""Why has a session stalled? Reads a snapshot on stdin, prints findings as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

Finding = dict[str, Any]

_ERRORS_IN_A_ROW = 2
_REPEATED = 3


def analyze(session: dict[str, Any]) -> list[Finding]:
    """Return findings, the most likely cause first."""
    open_items = session["open"]
    found = [
        *_waiting(open_items),
        *_hung("tool", open_items, "hung_tool", "a tool does not end"),
        *_hung("call", open_items, "unanswered_call", "a call is not answered"),
        *_errors(session["recent"]),
        *_repetition(session["repeated"]),
    ]
    turns = [item for item in open_items if item["kind"] == "turn"]
    if turns and not found:
        found += _hung("turn", turns, "silent_turn", "a turn is open, and nothing runs in it")
    if not open_items:
        found += _stopped(session)
    return found


def _waiting(items: list[Any]) -> list[Finding]:
    return [
        _finding("waits_for_user", f"{item['name']} waits for a person", item["age"], item["name"])
        for item in items
        if item["waits_for_user"] and item["kind"] == "call"
    ]


def _hung(kind: str, items: list[Any], cause: str, text: str) -> list[Finding]:
    return [
        _finding(cause, f"{text}: {i['name']}, for {i['age']:.0f} s", i["age"], i["name"])
        for i in items
        if i["kind"] == kind and not i["waits_for_user"]
    ]


def _errors(recent: list[Any]) -> list[Finding]:
    last: list[Any] = []
    for item in reversed([item for item in recent if item["kind"] != "turn"]):
        if not item["error"]:
            break
        last.append(item)
    if len(last) < _ERRORS_IN_A_ROW:
        return []
    named = ", ".join(dict.fromkeys(f"{item['name']}: {item['error']}" for item in last))
    text = f"the last {len(last)} steps before the silence failed ({named})"
    return [_finding("errors_before_stall", text, len(last), last[0]["name"])]


def _repetition(repeated: list[Any]) -> list[Finding]:
    return [
        _finding(
            "repetition_before_stall",
            f"{tool['name']} was called {tool['in_a_row']} times in a row before the silence",
            tool["in_a_row"],
            tool["name"],
        )
        for tool in repeated
        if tool["in_a_row"] >= _REPEATED
    ]


def _stopped(session: dict[str, Any]) -> list[Finding]:
    turns = [item for item in session["recent"] if item["kind"] == "turn"]
    last = turns[-1] if turns else None
    if last is not None and last["outcome"] == "incomplete":
        text = f"the last turn ended mid-task {last['ago']:.0f} s ago: tools ran, no answer came"
        return [_finding("ended_mid_task", text, last["ago"], last["name"])]
    if last is not None and last["error"]:
        text = f"the last turn failed {last['ago']:.0f} s ago ({last['error']})"
        return [_finding("last_turn_failed", text, last["ago"], last["name"])]
    return []


def _finding(cause: str, text: str, value: float, subject: str) -> Finding:
    return {"cause": cause, "text": text, "value": value, "subject": subject}


if __name__ == "__main__":
    findings = analyze(json.load(sys.stdin))
    summary = findings[0]["text"] if findings else "nothing in the session explains a stall"
    json.dump({"findings": findings, "summary": summary}, sys.stdout)
