"""Policy: whether an attempt may be made. Pure; time is an argument."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

import msgspec

from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.records import InterventionRecord, InterventionResult, Reason

MAX_SESSIONS = 10_000
_MINUTE_NS = 60 * 10**9


class Refusal(msgspec.Struct, frozen=True):
    """Why an attempt may not be made.

    Attributes:
        reason: budget, rate_limit or repeated_failures.
        detail: One sentence.
        final: Whether nothing else may be done about the alert either.
        wait: Seconds after which it may be tried again; 0 for never.

    """

    reason: str
    detail: str
    final: bool
    wait: float = 0.0


class SessionPolicy:
    """Budgets of one session.

    Attributes:
        attempts: Made so far.
        exhausted: Whether a person was told that no more will be made.
        refused: Why the last repetition of a call was refused; empty if it was not.
        helped: Alert type, strategy and number of the open turn of the last success.

    """

    def __init__(self, config: InterventionConfig) -> None:
        self.attempts = 0
        self.exhausted = False
        self.refused = ""
        self.helped: tuple[str, str, int | None] | None = None
        self._config = config
        self._recent: deque[int] = deque(maxlen=config.rate_limit)
        self._failures: Counter[str] = Counter()

    def admit(self, strategy: str, now_ns: int) -> Refusal | None:
        """Return why a strategy may not be tried now; None if it may."""
        config = self._config
        if self.attempts >= config.max_interventions_per_session:
            limit = config.max_interventions_per_session
            return Refusal(
                Reason.BUDGET, f"{limit} interventions in this session are the limit", True
            )
        full = len(self._recent) == config.rate_limit
        if full and now_ns - self._recent[0] < _MINUTE_NS:
            wait = (self._recent[0] + _MINUTE_NS - now_ns) / 1e9
            return Refusal(
                Reason.RATE_LIMIT, f"{config.rate_limit} a minute are the limit", True, wait
            )
        failures = self._failures[strategy]
        if failures >= config.skip_after:
            detail = f"{strategy} has failed {failures} times in a row here"
            return Refusal(Reason.REPEATED_FAILURES, detail, False)
        return None

    def made(self, now_ns: int) -> None:
        """Count an attempt."""
        self.attempts += 1
        self._recent.append(now_ns)

    def learn(self, record: InterventionRecord) -> None:
        """Take note of what came of an attempt."""
        if record.result is InterventionResult.FAILURE:
            self._failures[record.strategy] += 1
        else:
            self._failures[record.strategy] = 0


class Policies:
    """The budgets of all sessions; those that have been silent longest are forgotten."""

    def __init__(self, config: InterventionConfig) -> None:
        self._config = config
        self._sessions: OrderedDict[str, SessionPolicy] = OrderedDict()

    def of(self, session_id: str) -> SessionPolicy:
        """Return the budget of a session."""
        policy = self._sessions.pop(session_id, None) or SessionPolicy(self._config)
        self._sessions[session_id] = policy
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return policy
