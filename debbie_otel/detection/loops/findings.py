"""What counts as a loop (settings), and what was found (a finding)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

LoopKind = Literal[
    "repeated_call",
    "cycle",
    "repeated_failure",
    "same_error",
    "near_duplicate",
    "unknown_tool",
    "monologue",
    "chanting",
    "name",
]
LoopTier = Literal["soft", "hard"]

Repetitions = Annotated[int, Meta(ge=2, le=10_000)]

POLLING = (
    "wait",
    "wait_*",
    "await_*",
    "sleep",
    "sleep_*",
    "poll",
    "poll_*",
    "status",
    "*_status",
    "!git_status",
    "progress",
    "*_progress",
    "ping",
    "heartbeat",
    "health",
    "health_*",
    "keep_alive",
    "keepalive",
    "watch",
    "watch_*",
    "monitor",
    "monitor_*",
    "tail",
    "tail_*",
    "bash_output",
    "task_output",
    "terminal_output",
    "read_output",
    "get_output",
    "write_stdin",
    "scroll",
    "scroll_*",
    "*_scroll",
    "swipe",
    "press_key",
    "key_press",
    "send_keys",
    "next_page",
    "page_down",
    "page_up",
    "step_over",
    "step_into",
    "step_out",
    "undo",
    "redo",
)
"""Tools that are made to be called again and again with the same arguments."""

THINKING = ("think", "thinking", "*_thinking", "sequentialthinking", "todo_write", "update_plan")
"""Tools that change nothing but the agent's own notes; between two calls they do not count."""

VOLATILE = (
    "timestamp",
    "*_timestamp_ms",
    "request_id",
    "req_id",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "correlation_id",
    "trace_id",
    "trace_parent",
    "traceparent",
    "span_id",
    "progress_token",
    "idempotency_key",
    "nonce",
    "pid",
    "process_id",
    "attempt",
    "attempt_*",
    "retry",
    "retries",
    "retry_count",
    "explanation",
    "justification",
    "rationale",
    "reasoning",
    "task_progress",
    "_meta",
)
"""Members that differ between two calls that ask for the same."""

VOLATILE_RESULTS = (
    "*timestamp*",
    "time",
    "date",
    "now",
    "*_at",
    "*_at_ms",
    "*duration*",
    "elapsed",
    "elapsed_*",
    "took",
    "took_*",
    "*_ms",
    "*latency*",
    "uptime*",
    "ppid",
    "session_id",
    "!*progress*",
    "!*position*",
    "!*offset*",
    "!*remaining*",
)
"""Members that differ between two results that say the same, besides `VOLATILE`; not those that
tell of progress (`position_ms`)."""


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as a loop. Counts are calls (or messages) in a row, the first one included.

    Names of tools and members are compared in lower case with underscores, however they were
    written (`getStatus`, `get-status`). A tool's pattern may also match from any later word on:
    `get_status` is found in `mcp__ci__get_status`. A pattern that begins with `!` makes an
    exception. A member's pattern matches the whole name.

    Attributes:
        repetitions: Equivalent calls (or rounds of a cycle) that are a loop: the hard tier.
        warn_repetitions: Those that are worth a warning: the soft tier of every rule.
        match: Whether calls are equivalent by tool and arguments, or, literally, by the tool's
            name alone (which takes pagination and work on many files for a loop).
        max_period: Calls in the longest cycle that is found.
        failed_repetitions: Identical calls that all fail.
        same_error_repetitions: Calls of one tool that fail alike, whatever the arguments.
        unknown_tool_repetitions: Calls of tools that do not exist.
        similar_repetitions: Calls of one tool whose arguments are almost the same.
        similarity: Dice coefficient of bigrams from which arguments are almost the same.
        polling_repetitions: Calls without progress of a tool that may repeat; soft only.
        changing_repetitions: Identical calls that each bring something new; soft only.
        monologue_repetitions: Identical messages of the agent with nothing between them.
        chant_repetitions: Times that a piece of `chant_size` characters comes again within a
            message, on average at most `chant_distance` characters apart.
        chant_size: Characters of that piece.
        chant_distance: Characters from one to the next.
        episode_gap: Seconds without a call after which calls outside of turns begin anew.
        polling: Patterns of tools that may repeat.
        thinking: Patterns of tools that do not interrupt a loop.
        volatile: Patterns of members that are ignored, in arguments and results.
        volatile_results: Patterns of members that are ignored in results only.

    """

    repetitions: Repetitions = 5
    warn_repetitions: Repetitions = 3
    match: Literal["equivalent", "name"] = "equivalent"
    max_period: Annotated[int, Meta(ge=1, le=32)] = 8
    failed_repetitions: Repetitions = 4
    same_error_repetitions: Repetitions = 5
    unknown_tool_repetitions: Repetitions = 4
    similar_repetitions: Repetitions = 5
    similarity: Annotated[float, Meta(gt=0, le=1)] = 0.85
    polling_repetitions: Repetitions = 60
    changing_repetitions: Repetitions = 60
    monologue_repetitions: Repetitions = 3
    chant_repetitions: Repetitions = 10
    chant_size: Annotated[int, Meta(ge=10, le=1000)] = 50
    chant_distance: Annotated[int, Meta(ge=10, le=10_000)] = 250
    episode_gap: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    polling: tuple[str, ...] = POLLING
    thinking: tuple[str, ...] = THINKING
    volatile: tuple[str, ...] = VOLATILE
    volatile_results: tuple[str, ...] = VOLATILE_RESULTS


class LoopFinding(msgspec.Struct, frozen=True):
    """A loop.

    Attributes:
        kind: Which rule found it.
        tier: Whether it is worth a warning (soft) or an intervention (hard).
        tool: The tool called last; None for what the agent says.
        count: Calls, rounds of the cycle, or messages so far, and
        limit: from how many on it is a loop.
        period: Calls in one round; 1 unless it is a cycle.
        since_ns: When the first of them began.
        message: One sentence for people.

    """

    kind: LoopKind
    tier: LoopTier
    tool: str | None
    count: int
    limit: int
    period: int
    since_ns: int
    message: str
