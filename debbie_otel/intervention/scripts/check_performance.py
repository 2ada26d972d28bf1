"""What is slow in a session, or large? Reads a snapshot on stdin, prints findings as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

Finding = dict[str, Any]

_SLOWER = 1.5  # times the usual
_NOTABLE = 0.05  # seconds by which it must be slower
_DOMINANT = 0.7  # share of the time of all calls and tools
_LONG = 5.0  # seconds in sum from which a share matters
_MEGABYTE = 1 << 20


def check(session: dict[str, Any]) -> list[Finding]:
    """Return findings, the most telling first."""
    return [
        *sorted(_slower(session["response_times"]), key=lambda found: -found["value"]),
        *_dominant(session["recent"]),
        *_long_open(session["open"], session["response_times"]),
        *_memory(session),
    ]


def _slower(times: list[Any]) -> list[Finding]:
    found = []
    for entry in times:
        usual, latest = entry["usual"], sorted(entry["latest"])
        if usual is None or not latest:
            continue
        now = latest[len(latest) // 2]
        if now >= _SLOWER * usual and now - usual >= _NOTABLE:
            factor = now / max(usual, 1e-6)
            text = f"{entry['name']} takes {now:.2f} s, usually {usual:.2f} s ({factor:.1f} times)"
            found.append(_finding("slower_than_usual", text, round(factor, 2), entry["name"]))
    return found


def _dominant(recent: list[Any]) -> list[Finding]:
    sums: dict[str, float] = {}
    for item in recent:
        if item["kind"] != "turn" and item["duration"] is not None:
            sums[item["name"]] = sums.get(item["name"], 0.0) + item["duration"]
    total = sum(sums.values())
    if total < _LONG or len(sums) < 2:  # one alone always has all of the time
        return []
    name, seconds = max(sums.items(), key=lambda entry: entry[1])
    share = seconds / total
    if share < _DOMINANT:
        return []
    text = f"{name} took {share:.0%} of the time of recent calls ({seconds:.1f} of {total:.1f} s)"
    return [_finding("dominates", text, round(share, 2), name)]


def _long_open(items: list[Any], times: list[Any]) -> list[Finding]:
    known = {entry["name"]: entry for entry in times}
    found = []
    for item in items:
        entry = known.get(f"{item['kind']} {item['name']}")
        if entry is None or item["waits_for_user"]:
            continue
        longest = max([*entry["latest"], entry["usual"] or 0.0])
        if item["age"] > max(_SLOWER * longest, _NOTABLE):
            text = f"{item['name']} has run for {item['age']:.1f} s, so far {longest:.2f} s at most"
            found.append(_finding("still_running", text, item["age"], item["name"]))
    return found


def _memory(session: dict[str, Any]) -> list[Finding]:
    alert, memory = session["alert"], session["memory"]
    if alert["type"] != "memory_spike":
        return []
    factor = alert["details"].get("value")
    size = "" if memory is None else f" to {memory / _MEGABYTE:.0f} MiB"
    if not isinstance(factor, (int, float)):
        return []
    text = f"the agent's memory has grown{size}, {factor:.1f} times its baseline"
    return [_finding("memory_growth", text, factor, "memory")]


def _finding(cause: str, text: str, value: float, subject: str) -> Finding:
    return {"cause": cause, "text": text, "value": value, "subject": subject}


if __name__ == "__main__":
    findings = check(json.load(sys.stdin))
    summary = findings[0]["text"] if findings else "nothing is slower than it was"
    json.dump({"findings": findings, "summary": summary}, sys.stdout)
