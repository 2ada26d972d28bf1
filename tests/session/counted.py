"""Counts of recordings: of their raw JSON, and of the turns and tools that were seen in them."""

from __future__ import annotations

import json
from collections import Counter

from debbie_otel.session import events as ev
from debbie_otel.session.model import Outcome
from tests.play import DATA, Play


def by_hand(name: str) -> Counter[tuple[str, str, str | None]]:
    counts: Counter[tuple[str, str, str | None]] = Counter()
    for line in (DATA / name / "transcript.jsonl").read_text().splitlines():
        entry = json.loads(line)
        message = entry["msg"]
        if not isinstance(message, dict):
            kind, method = "unknown", None
        elif "method" in message:
            kind, method = "request" if "id" in message else "notification", message["method"]
        else:
            kind, method = "error" if "error" in message else "response", None
        counts[entry["dir"], kind, method] += 1
    return counts


def turns(stage: Play) -> Counter[tuple[Outcome | None, str | None, str | None]]:
    return Counter(
        (e.turn.outcome, e.turn.error_type, e.turn.stop_reason) for e in stage.of(ev.TurnEnded)
    )


def tools(stage: Play) -> Counter[tuple[str, Outcome | None, str | None]]:
    return Counter((e.tool.name, e.tool.outcome, e.tool.error_type) for e in stage.of(ev.ToolEnded))
