"""What a report is made of: the facts of a session, seen live or read back from its spans.

Plain values without content, except where content capture is on. Times are nanoseconds since the
epoch.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["turn", "call", "tool"]


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A turn, a call or a tool execution that has ended.

    Attributes:
        name: The method, or the tool's name.
        turn: Number of the turn it belongs to; None outside turns.
        timed: Whether the wire tells when it began (AIWhisperer's tools are only reported).
        outcome: As in `core.model.Outcome`.
        error: `error.type`; empty without an error. `message` is what came with it.
        asked: Equal for equal arguments; empty where they are not known.
        arguments: The arguments as text, cut and redacted; empty unless content is captured.
        tools: Executions in a turn.

    """

    kind: Kind
    name: str
    turn: int | None
    started_ns: int
    ended_ns: int
    outcome: str
    timed: bool = True
    error: str = ""
    message: str = ""
    asked: str = ""
    arguments: str = ""
    tools: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_ns - self.started_ns) / 1e9


class OpenStep(msgspec.Struct, frozen=True):
    """A turn, a call or a tool that has not ended; `waits` where a person has to answer it."""

    kind: Kind
    name: str
    started_ns: int
    waits: bool = False


class SeenAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert; `resolved_ns` is None while it is active, and where nobody knows."""

    alert_type: str
    severity: str
    message: str
    subject: str
    fired_ns: int
    resolved_ns: int | None = None


class RecentMessage(msgspec.Struct, frozen=True, gc=False):
    """A message; `method` is empty for answers, `content` unless content is captured."""

    time_ns: int
    direction: str
    type: str
    method: str
    size: int
    content: str = ""


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a session.

    Attributes:
        end_reason: Why it ended; empty while it lives.
        live: Whether it can be acted on now.
        turns, calls, tools, errors, messages: So far; `steps` are the last ones only.
        steps, alerts, recent: The oldest first.

    """

    session_id: str
    dialect: str = ""
    agent: str = ""
    live: bool = False
    started_ns: int | None = None
    ended_ns: int | None = None
    end_reason: str = ""
    last_ns: int = 0
    turns: int = 0
    calls: int = 0
    tools: int = 0
    errors: int = 0
    messages: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    steps: tuple[Step, ...] = ()
    open: tuple[OpenStep, ...] = ()
    alerts: tuple[SeenAlert, ...] = ()
    recent: tuple[RecentMessage, ...] = ()
