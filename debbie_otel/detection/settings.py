"""[detection] and [[rules]]: thresholds. What is not set comes from the profile."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from debbie_otel.detection.loops import LoopSettings

Severity = Literal["low", "medium", "high", "critical"]
Seconds = Annotated[float, Meta(gt=0, le=86_400 * 30)]
Factor = Annotated[float, Meta(gt=1, le=1000)]
Share = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]

SEVERITIES: dict[str, Severity] = {
    "session_stall": "high",
    "slow_response": "medium",
    "high_error_rate": "high",
    "tool_loop": "critical",
    "memory_spike": "medium",
    "request_timeout": "high",
    "retry_storm": "high",
    "call_budget": "medium",
    "token_budget": "medium",
    "turn_time": "medium",
}
"""Alert types and how serious they are."""

CONTROL = "debbie.control."
CONTROL_METRICS = {
    "silence": ("s", "Silence of a session that owes something."),
    "silence.long": ("s", "The same while a tool runs that is slow by nature."),
    "response.ratio": ("1", "Response time over its baseline."),
    "error.ratio": ("1", "Share of calls and tools that failed."),
    "loop.count": ("{repetition}", "Repetitions of a loop."),
    "memory.ratio": ("1", "Memory of the agent's process over its baseline."),
    "call.age": ("s", "Age of the oldest request outside a turn."),
    "retries": ("{attempt}", "Failed attempts at the same thing."),
    "turn.steps": ("{step}", "Calls and tools of a turn."),
    "turn.tokens": ("{token}", "Tokens of a turn."),
    "turn.time": ("s", "Age of a turn."),
}
"""What is measured of each live session, with unit and description; names without `CONTROL`."""

LONG_COMMANDS = (
    r"(make|cmake|ninja|bazel|cargo|rustc|go (build|test|vet)|mvn|gradle\w*|tsc|webpack|vite|docker"
    r"|podman|terraform|ansible\w*|apt(-get)?|dnf|pytest|tox|nox|jest|playwright|rsync|wget|sleep)\b"
    r"|(npm|npx|pnpm|yarn|bun|pip3?|uv|poetry|conda|gem|bundle|composer)\b.*\b(ci|i|install|add|sync"
    r"|update|build|test|run)\b|\S*\b(build|compile|benchmark|migrate|download|train|deploy)"
)
"""Commands that are silent for minutes when all is well."""


SUB_AGENTS = r"(\w+_)?(sub_?)?(task|agent)s?\b|spawn\w*|collab\w*|delegate\w*|think\b"
"""Names of tools that are agents of their own. ACP has kinds in place of names: `think`."""


class SilenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[detection.silence]: how long silence may last, by what the session owes.

    The defaults are what products settled on after years of false alarms: thinking, builds and
    sub-agents are silent for minutes when all is well.

    Attributes:
        mid_task: Seconds after a turn that ended with tools called and no answer; by default
            `stall_threshold`.
        first_token: After the beginning of a turn that has said nothing yet.
        between_tokens: After words in a turn that is open.
        after_tool: After the end of a tool in a turn that is open.
        tool: While a tool runs.
        sub_agent: While a tool runs whose name matches
        sub_agents: this regular expression, in any case.

    """

    mid_task: Seconds | None = None
    first_token: Seconds = 300.0
    between_tokens: Seconds = 120.0
    after_tool: Seconds = 120.0
    tool: Seconds = 600.0
    sub_agent: Seconds = 1800.0
    sub_agents: str = SUB_AGENTS


class DetectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When something is wrong.

    Attributes:
        enabled: Whether Debbie looks for anomalies at all.
        check_interval: Seconds between two looks.
        stall_threshold: Seconds of silence of a session whose turn ended mid-task, and
        silence: of one that owes something else. A file that sets the first alone means it for
            every silence (None).
        long_tool_threshold: The same while a tool runs that is slow by nature, and
        long_commands: a regular expression on the beginnings of commands (or the names of tools)
            that are.
        slow_factor: Response time in terms of its baseline, and
        slow_floor: seconds by which it must be slower at least.
        response_window: Response times that make a baseline, and
        response_minimum: how many it takes.
        error_rate: Share of calls and tools that failed, and
        error_minimum: how many it takes; `error_calls`: of how many.
        error_window: Seconds that count.
        memory_factor: Memory in terms of its baseline, and
        memory_floor: bytes by which it must have grown.
        call_timeout: Seconds that a request outside of turns may be open; None never alerts.
        retries: Failed attempts at the same request within
        retry_window: seconds.
        call_budget: Calls and tools a turn; None is no budget. So for `token_budget`.
        turn_time: Seconds a turn.
        pending: Seconds that a condition has to hold, by alert type.
        cooldown: Seconds after an alert before the same one may fire again.
        loops: Repetition analysis.

    """

    enabled: bool = True
    check_interval: Seconds = 5.0
    stall_threshold: Seconds = 30.0
    silence: SilenceSettings | None = SilenceSettings()
    long_tool_threshold: Seconds = 600.0
    long_commands: str = LONG_COMMANDS
    slow_factor: Factor = 2.0
    slow_floor: Seconds = 0.05
    response_window: Count = 100
    response_minimum: Count = 5
    error_rate: Share = 0.2
    error_minimum: Count = 3
    error_calls: Count = 5
    error_window: Seconds = 300.0
    memory_factor: Factor = 1.5
    memory_floor: Annotated[int, Meta(ge=1, le=1 << 50)] = 32 << 20
    call_timeout: Seconds | None = 300.0
    retries: Count = 5
    retry_window: Seconds = 60.0
    call_budget: Count | None = None
    token_budget: Count | None = None
    turn_time: Seconds | None = None
    pending: dict[str, Annotated[float, Meta(ge=0)]] = {}
    cooldown: Seconds = 60.0
    loops: LoopSettings = msgspec.field(default_factory=LoopSettings)


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[rules]]: a rule of the user's own.

    Attributes:
        name: The alert type that it raises.
        metric: Name of an OpenTelemetry metric.
        where: Attributes that a point must have.
        aggregate: Of the points in the window: their sum, the last one, sum over seconds (rate),
            mean of a histogram, or its `quantile`.
        by: Attribute that tells subjects apart; each is judged by itself.
        over: Seconds of the window.
        above, below: Threshold; one of them.
        for_: Seconds that it must hold (`for` in TOML).
        severity: Of the alert.
        strategies: What to do about it.

    """

    name: str
    metric: str
    where: dict[str, str] = {}
    aggregate: Literal["sum", "last", "rate", "mean", "quantile"] = "last"
    quantile: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    by: str | None = None
    over: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    above: float | None = None
    below: float | None = None
    for_: Annotated[float, Meta(ge=0, le=86_400)] = msgspec.field(default=0.0, name="for")
    severity: Severity = "medium"
    strategies: tuple[str, ...] = ()
