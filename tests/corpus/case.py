"""What the corpus consists of: a recording, and what should be noticed in it and when.

All times are seconds on the recording's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from debbie_otel.app.recording import RecordedMessage

ALERT_TYPES = (
    "session_stall",
    "tool_loop",
    "high_error_rate",
    "slow_response",
    "request_timeout",
    "retry_storm",
    "call_budget",
    "token_budget",
    "turn_time",
)
"""Alert types that a recording can show."""

NOT_IN_RECORDINGS = ("memory_spike",)
"""Alert types that need a process to look at."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the default profile that the labels assume.

    Attributes:
        check_interval: Seconds between two looks.
        stall: Seconds of silence while something is owed.
        long_tool: The same while a build, an installation or a test run is silent.
        loop: Repetitions of a tool call.
        error_rate: Share of calls that failed, of at least `error_calls` calls with at least
            `error_minimum` errors.
        slow_factor: Response time over its baseline.
        call_timeout: Seconds that a request outside of turns may be open.
        retries: Failures of the same request within `retry_window` seconds.
        prompt: Seconds in which a loop is alerted after the message that completes it.
        call_budget: Calls and tools a turn; None is no budget, and then there are no such cases.
        token_budget: Tokens a turn, likewise.
        turn_time: Seconds a turn, likewise.

    """

    check_interval: float = 5.0
    stall: float = 30.0
    long_tool: float = 600.0
    loop: int = 5
    error_rate: float = 0.2
    error_minimum: int = 3
    error_calls: int = 5
    slow_factor: float = 2.0
    call_timeout: float = 300.0
    retries: int = 5
    retry_window: float = 60.0
    prompt: float = 0.25
    call_budget: int | None = None
    token_budget: int | None = None
    turn_time: float | None = None

    @property
    def tick(self) -> float:
        """Seconds until a regular look has surely happened."""
        return self.check_interval + 0.5


DEFAULTS = Defaults()


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that should come.

    Attributes:
        alert_type: Which.
        onset: When the condition begins or is completed; an earlier alert is a false one.
        deadline: Latest time at which the alert is of use.
        session: Session that it must name; None takes any of the case.

    """

    alert_type: str
    onset: float
    deadline: float
    session: str | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a case is.

    Attributes:
        name: Unique in the corpus.
        theme: What happens in it.
        dialect: Which protocol is spoken.
        seed: The corpus' seed; None for hand-made ones.
        anomalies: Alerts that should come; none in a healthy session.
        tolerated: Alert types that may come besides, as they are true as well.
        end: When the clock stops; the recording may end long before.

    """

    name: str
    theme: str
    dialect: str
    end: float
    anomalies: tuple[Expected, ...] = ()
    tolerated: frozenset[str] = frozenset()
    seed: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.anomalies


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A labelled recording."""

    label: Label
    messages: tuple[RecordedMessage, ...]


class AlertSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that a judge raised."""

    t: float
    alert_type: str
    session_id: str
    severity: str = ""
    message: str = ""


Judge = Callable[[Sequence[RecordedMessage], float], list[AlertSeen]]
"""Takes messages and the time until which the clock runs on; returns the alerts that fired."""
