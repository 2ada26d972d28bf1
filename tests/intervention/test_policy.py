from __future__ import annotations

from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.policy import MAX_SESSIONS, Policies, SessionPolicy
from debbie_otel.intervention.records import InterventionResult
from tests.intervention.attempts import attempt

SECOND = 10**9


def test_attempts_are_limited_a_session() -> None:
    policy = SessionPolicy(InterventionConfig(max_interventions_per_session=2))
    policy.made(0)
    assert policy.admit("x", 0) is None
    policy.made(0)
    refusal = policy.admit("x", 10**15)
    assert refusal is not None
    assert (refusal.reason, refusal.final) == ("budget", True)


def test_attempts_are_limited_a_minute() -> None:
    policy = SessionPolicy(InterventionConfig(rate_limit=2, max_interventions_per_session=100))
    policy.made(0)
    policy.made(30 * SECOND)
    refusal = policy.admit("x", 59 * SECOND)
    assert refusal is not None
    assert (refusal.reason, refusal.final, refusal.wait) == ("rate_limit", True, 1.0)
    assert policy.admit("x", 60 * SECOND) is None


def test_a_strategy_that_fails_and_fails_is_skipped_alone() -> None:
    policy = SessionPolicy(InterventionConfig(skip_after=2))
    failure = attempt(strategy="x", result=InterventionResult.FAILURE)
    policy.learn(failure)
    assert policy.admit("x", 0) is None
    policy.learn(failure)
    refusal = policy.admit("x", 0)
    assert refusal is not None
    assert (refusal.reason, refusal.final) == ("repeated_failures", False)
    assert policy.admit("y", 0) is None
    policy.learn(attempt(strategy="x", result=InterventionResult.SUCCESS))
    assert policy.admit("x", 0) is None


def test_budgets_of_sessions_are_their_own_and_bounded() -> None:
    policies = Policies(InterventionConfig(max_interventions_per_session=1))
    policies.of("a").made(0)
    assert policies.of("a").admit("x", 0) is not None
    assert policies.of("b").admit("x", 0) is None
    for number in range(MAX_SESSIONS):
        policies.of(f"s{number}")
    assert policies.of("a").admit("x", 0) is None, "forgotten"
