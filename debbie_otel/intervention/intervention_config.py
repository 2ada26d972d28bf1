"""[interventions]: what Debbie does about alerts. What is not set comes from the profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from debbie_otel.intervention.records import InterventionStrategy

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Positive = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
AtLeastOne = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 40)]
StrategyName = Annotated[
    str,
    Meta(
        pattern=rf"^({'|'.join(InterventionStrategy)}|custom:[\w.-]{{1,64}})$",
        description=f"one of {', '.join(InterventionStrategy)}, custom:NAME",
    ),
]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


PROMPTS: dict[str, tuple[str, ...]] = {
    "session_stall": (
        "You seem to have stopped in the middle of the task. Please continue with the next step.",
        "There has been no progress for {duration} seconds. Please go on from where you stopped, "
        "or say what keeps you from it.",
        "Please complete the task that you have begun: use the results you already have, and "
        "give your answer.",
    ),
    "tool_loop": (
        "You have repeated the same step {count} times with the same outcome. Do not repeat it: "
        "try another approach, or answer with what you have.",
        "The last steps went in a circle. Say in one sentence what you still need, then take a "
        "different step towards it.",
    ),
    "high_error_rate": (
        "Several of the last steps failed. Please look at the errors, correct the cause, and try "
        "the last step once more.",
        "Steps keep failing. Please check the arguments, or reach the goal in another way.",
    ),
    "slow_response": ("The last steps were slow. Please continue with smaller steps.",),
    "memory_spike": (
        "Please go on with the task in small steps, without large intermediate data.",
    ),
    "*": ("Please continue with the task.",),
}
"""Templates by alert type, rotated. {duration}, {count} and {tool} are filled in, and nothing else:
words from the wire get into a prompt only as a number or as the name of a tool."""


PERMANENT = (
    r"-3260[0-2]\b|validation error|missing required|could not find|(?<!host )not found"
    r"|no such file|invalid (arg|param|input|request|type|value|path|url|json|schema)"
    r"|(unknown|unsupported) (tool|arg|param|option|method|command)"
    r"|\b(ENOENT|EACCES|EPERM|EEXIST|EISDIR|ENOTDIR)\b|does not exist|doesn't exist|already exists"
    r"|(access|permission) denied|not (allowed|permitted|authori[sz]ed|supported|implemented)"
    r"|unauthori[sz]ed|forbidden|(http|status)( code| error)?:? ?(400|401|403|404|405|410|422)\b"
)
"""Failures that stay the same: what was asked for is wrong, missing or forbidden."""


class ToolRetrySettings(_Section, frozen=True, kw_only=True):
    """[interventions.tool_retry]: MCP calls that are repeated before the client sees a failure.

    Attributes:
        enabled: Whether failed calls are held back and repeated at all.
        tools: Names of tools that may be repeated, with `*` as in a shell.
        idempotent: Also those whose `annotations` say idempotentHint or readOnlyHint.
        permanent: Regular expression on the beginning of a failure (code, message, result), in any
            case: what matches goes to the client at once, as another attempt would not mend it;
            empty for none.
        max_attempts: Repetitions of one call.
        delay: Seconds before the first; doubled each time, with jitter.
        max_delay: Seconds at most.
        arguments: By tool: arguments to set in a repetition (TOML values).

    """

    enabled: bool = True
    tools: tuple[str, ...] = ()
    idempotent: bool = True
    permanent: str = PERMANENT
    max_attempts: AtLeastOne = 3
    delay: Seconds = 0.5
    max_delay: Seconds = 10.0
    arguments: dict[str, dict[str, Any]] = {}


SCRIPTS = {
    "session_stall": "analyze_stall",
    "slow_response": "check_performance",
    "memory_spike": "check_performance",
    "*": "diagnose_errors",
}
"""Which script an alert type runs; `*` stands for all others."""


class ScriptSettings(_Section, frozen=True, kw_only=True):
    """[interventions.scripts]: diagnostic scripts, each in a process of its own.

    Attributes:
        directory: Where the user's own are: NAME.py; None has the built-in ones only.
        by_alert: Which script an alert type runs.
        at_once: Scripts that run at the same time; others wait.
        wall_time: Seconds; `cpu_time`: seconds of CPU.
        memory: Bytes of address space.
        output: Bytes of stdout that are kept.
        open_files: File descriptors; `processes`: processes and threads, its own included.
        file_size: Bytes that it may write to any file.

    """

    directory: Path | None = None
    by_alert: dict[str, str] = msgspec.field(default_factory=SCRIPTS.copy)
    at_once: AtLeastOne = 2
    wall_time: Positive = 10.0
    cpu_time: AtLeastOne = 5
    memory: Bytes = 512 << 20
    output: Bytes = 64 << 10
    open_files: AtLeastOne = 32
    processes: AtLeastOne = 16
    file_size: Annotated[int, Meta(ge=0, le=1 << 40)] = 1 << 20


class WebhookSettings(_Section, frozen=True, kw_only=True):
    """One of [[interventions.escalation.webhooks]].

    Attributes:
        url: http:// or https://.
        secret_env: Name of the environment variable with the secret that signs time and body:
            `X-Debbie-Signature: sha256=HEX`, see `escalation.webhook`. None signs nothing.
        headers_env: Header name -> environment variable with its value (for tokens).

    """

    url: str
    secret_env: str | None = None
    headers_env: dict[str, str] = {}


class EscalationSettings(_Section, frozen=True, kw_only=True):
    """[interventions.escalation]: who is told. The log is told always.

    Attributes:
        alertmanager: URLs of Alertmanagers (API v2); each of a cluster is told.
        labels: Added to every alert there; they do not replace Debbie's own.
        webhooks: Other receivers.
        timeout: Seconds a request; `attempts`: how often it is tried, with
        delay: seconds before the second try, doubled each time, with jitter.
        repeat: Seconds after which an Alertmanager is told again of what is still wrong.

    """

    alertmanager: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    webhooks: tuple[WebhookSettings, ...] = ()
    timeout: Positive = 5.0
    attempts: AtLeastOne = 4
    delay: Seconds = 0.5
    repeat: Positive = 60.0


class HistorySettings(_Section, frozen=True, kw_only=True):
    """[interventions.history]: what is remembered.

    Attributes:
        path: SQLite file; None is `history.sqlite3` in the data directory.
        max_records: Beyond it the oldest are deleted; `max_age`: seconds, likewise.

    """

    path: Path | None = None
    max_records: AtLeastOne = 100_000
    max_age: Annotated[float, Meta(gt=0)] = 90 * 86_400.0


STRATEGIES: dict[str, tuple[StrategyName, ...]] = {
    "session_stall": ("prompt_injection", "session_restart"),
    "tool_loop": ("state_reset", "escalate"),
    "high_error_rate": ("tool_retry", "python_script"),
    "slow_response": ("python_script", "escalate"),
    "memory_spike": ("state_reset", "session_restart"),
    "request_timeout": ("python_script", "escalate"),
    "retry_storm": ("python_script", "escalate"),
}
"""Strategies by alert type, in order."""


class InterventionConfig(_Section, frozen=True, kw_only=True):
    """[interventions]: policy.

    Attributes:
        auto_continue: Whether Debbie acts by itself; if not, what it would have done is recorded
            as skipped.
        dry_run: Does everything but act: strategies are chosen, counted and recorded as skipped.
        alert_strategy_map: Strategies by alert type, in order; types that are not named have those
            of `STRATEGIES`, and an empty list does nothing.
        order: `fixed`, or `learned`: by what has worked for this alert type and agent.
        max_retries: Attempts of one strategy for one alert.
        retry_delay: Seconds before the next attempt.
        escalation_threshold: Failed attempts for one alert after which a person is told.
        max_interventions_per_session: Attempts in one session; then only a person is told, once.
        rate_limit: Attempts a minute and session; an alert beyond it waits.
        skip_after: Failures of a strategy in a row in one session after which it is skipped there.
        recovery_timeout: Seconds in which the agent must move after an attempt.
        request_timeout: Seconds for a server to take up what is sent to it.
        tool_patience: How long a silent tool is waited for before its session is restarted, as long
            as the server itself answers (MCP's ping): times the threshold of the alert.
        queue: Alerts that wait, over all sessions.
        max_concurrent: Sessions that are dealt with at once.
        prompts: Templates by alert type; types that are not named have those of `PROMPTS`.
        context_turns, context_characters: How much of a session a restart carries over.

    """

    auto_continue: bool = True
    dry_run: bool = False
    alert_strategy_map: dict[str, tuple[StrategyName, ...]] = {}
    order: Literal["fixed", "learned"] = "fixed"
    max_retries: AtLeastOne = 3
    retry_delay: Seconds = 2.0
    escalation_threshold: AtLeastOne = 3
    max_interventions_per_session: Count = 10
    rate_limit: AtLeastOne = 10
    skip_after: AtLeastOne = 5
    recovery_timeout: Positive = 30.0
    request_timeout: Positive = 10.0
    tool_patience: Positive = 10.0
    queue: AtLeastOne = 1000
    max_concurrent: AtLeastOne = 32
    prompts: dict[str, tuple[str, ...]] = {}
    context_turns: Count = 5
    context_characters: Count = 4000
    tool_retry: ToolRetrySettings = msgspec.field(default_factory=ToolRetrySettings)
    scripts: ScriptSettings = msgspec.field(default_factory=ScriptSettings)
    escalation: EscalationSettings = msgspec.field(default_factory=EscalationSettings)
    history: HistorySettings = msgspec.field(default_factory=HistorySettings)

    @property
    def inert(self) -> str:
        """Why nothing is acted on: `passive` or `dry_run`; empty where it is."""
        if not self.auto_continue or not self.max_interventions_per_session:
            return "passive"
        return "dry_run" if self.dry_run else ""

    def strategies(self, alert_type: str) -> tuple[str, ...]:
        """Return what is done about a type of alert, in order."""
        return self.alert_strategy_map.get(alert_type, STRATEGIES.get(alert_type, ()))
