"""What is said to an agent: templates of the configuration, and a summary of what was said.

Nothing from the wire gets into a prompt but numbers, the name of a tool as far as it looks like
one, and, in a summary, the session's own words as JSON strings: they cannot pass for ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.intervention_config import PROMPTS
from debbie_otel.session.model import Turn

_WORD = re.compile(r"\{(duration|count|tool)\}")
_NAME = re.compile(r"[A-Za-z_][\w.:/-]{0,63}")


def prompt_for(
    prompts: Mapping[str, tuple[str, ...]],
    alert: AnomalyAlert,
    number: int,
    key: str | None = None,
) -> str:
    """Return a prompt for an alert.

    Args:
        prompts: Templates by alert type, `*` for all others, where they are not `PROMPTS`.
        alert: Fills in {duration}, {count} and {tool}.
        number: Which of the templates, in rotation.
        key: Look under this name, if there is something, instead of the alert's type.

    """
    known = {**PROMPTS, **prompts}
    names = (key or alert.alert_type, alert.alert_type, "*")
    templates = next((known[name] for name in names if known.get(name)), PROMPTS["*"])
    facts = _facts(alert)
    # One pass, so that a fact that looks like a placeholder is not filled in again.
    return _WORD.sub(lambda match: facts[match[1]], templates[number % len(templates)])


def summary(turns: Iterable[Turn], max_turns: int, max_characters: int) -> str:
    """Return what was said in the last turns; empty if nothing was.

    Args:
        turns: The oldest first.
        max_turns: The last so many.
        max_characters: Of the whole summary; the oldest is left out first.

    """
    recent = [turn for turn in turns if turn.input or turn.output]
    lines: list[str] = []
    left = max_characters
    for turn in reversed(recent[-max_turns:] if max_turns else []):
        said = [f"{who}: {_quoted(text, left)}" for who, text in _sides(turn) if text]
        size = sum(len(line) + 1 for line in said)
        if size > left:
            break
        left -= size
        lines[:0] = said
    if not lines:
        return ""
    return "\n".join(["This conversation was interrupted. So far, it went:", *lines, ""])


def _sides(turn: Turn) -> tuple[tuple[str, str | None], ...]:
    return (("User", turn.input), ("You", turn.output))


def _quoted(text: str, limit: int) -> str:
    """Return a text as a JSON string, which no line of it can leave."""
    limit = max(0, min(limit, 1000))
    return json.dumps(text if len(text) <= limit else text[:limit] + "…", ensure_ascii=False)


def _facts(alert: AnomalyAlert) -> dict[str, str]:
    subject = str(alert.subject or alert.details.get("subject") or "")
    value = alert.details.get("value")
    count = str(round(value)) if isinstance(value, int | float) else "several"
    return {
        "duration": str(round((alert.fired_ns - alert.since_ns) / 1e9)),
        "count": count,
        "tool": subject if _NAME.fullmatch(subject) else "the tool",
    }
