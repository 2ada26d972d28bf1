from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.intervention.learning import Trials, order, success_rate, worth
from debbie_otel.intervention.records import InterventionResult

STALL = "session_stall"
PROMPT, RESTART, RESET, ESCALATE = "prompt_injection", "session_restart", "state_reset", "escalate"
CONFIGURED = (PROMPT, RESTART)


def tried(strategy: str, won: float, count: int, agent: str = "bob", alert: str = STALL) -> Trials:
    return Trials(strategy, alert, agent, count, won)


def ordered(
    trials: list[Trials], strategies: tuple[str, ...] = CONFIGURED, agent: str = "bob"
) -> tuple[str, ...]:
    """The order without exploration."""
    return order(strategies, trials, random.Random(1), alert_type=STALL, agent=agent, explore=0.0)


def test_without_trials_the_order_is_the_configured_one() -> None:
    assert ordered([]) == CONFIGURED


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_trials_decide_nothing(count: int) -> None:
    """Not even if all of them went one way."""
    assert ordered([tried(PROMPT, 0, count), tried(RESTART, count, count)]) == CONFIGURED


def test_fifty_trials_decide() -> None:
    trials = [tried(PROMPT, 10, 50), tried(RESTART, 40, 50)]
    assert ordered(trials) == (RESTART, PROMPT)


def test_fifty_trials_that_are_much_alike_decide_nothing() -> None:
    assert ordered([tried(PROMPT, 25, 50), tried(RESTART, 30, 50)]) == CONFIGURED


def test_what_was_never_tried_is_not_judged() -> None:
    assert ordered([tried(RESTART, 50, 50)]) == CONFIGURED
    assert ordered([tried(PROMPT, 0, 50)]) == CONFIGURED


def test_one_that_surely_beats_the_first_passes_those_between_too() -> None:
    trials = [tried(PROMPT, 0, 50), tried(RESET, 48, 50)]
    assert ordered(trials, (PROMPT, RESTART, RESET)) == (RESET, PROMPT, RESTART)


def test_other_agents_count_where_this_one_is_new() -> None:
    others = [tried(PROMPT, 10, 50, "alice"), tried(RESTART, 45, 50, "carol")]
    assert ordered(others) == (RESTART, PROMPT)


def test_this_agents_own_trials_outweigh_those_of_others() -> None:
    others = [tried(PROMPT, 100, 1000, "alice"), tried(RESTART, 900, 1000, "alice")]
    own = [tried(PROMPT, 50, 60), tried(RESTART, 20, 60)]
    assert ordered(others) == (RESTART, PROMPT)
    assert ordered(others + own) == CONFIGURED
    assert ordered(others + own, agent="alice") == (RESTART, PROMPT)


def test_other_alert_types_do_not_count() -> None:
    trials = [tried(PROMPT, 0, 50, alert="tool_loop"), tried(RESTART, 50, 50, alert="tool_loop")]
    assert ordered(trials) == CONFIGURED


def test_nothing_moves_past_escalation() -> None:
    trials = [tried(PROMPT, 0, 90), tried(RESET, 0, 90), tried(RESTART, 90, 90)]
    assert ordered(trials, (PROMPT, RESTART, ESCALATE)) == (RESTART, PROMPT, ESCALATE)
    assert ordered(trials, (PROMPT, ESCALATE, RESTART)) == (PROMPT, ESCALATE, RESTART)
    assert ordered(trials, (ESCALATE, RESET, RESTART)) == (ESCALATE, RESTART, RESET)


def firsts(explore_seed: int, trials: list[Trials], times: int = 2000) -> Counter[str]:
    rng = random.Random(explore_seed)
    strategies = (PROMPT, RESTART, RESET, ESCALATE)
    return Counter(
        order(strategies, trials, rng, alert_type=STALL, agent="bob")[0] for _ in range(times)
    )


def test_exploration_goes_on_however_clear_the_evidence() -> None:
    clear = [tried(PROMPT, 5000, 5000), tried(RESTART, 0, 5000), tried(RESET, 0, 5000)]
    first = firsts(7, clear)
    assert first[PROMPT] == pytest.approx(1800, abs=80)
    assert first[RESTART] == pytest.approx(100, abs=40)
    assert first[RESET] == pytest.approx(100, abs=40)
    assert first[ESCALATE] == 0


def test_a_seed_repeats() -> None:
    assert firsts(3, []) == firsts(3, [])
    assert firsts(3, []) != firsts(4, [])


def test_worth_and_rate() -> None:
    assert [worth(result) for result in InterventionResult] == [1.0, 0.5, 0.0, None, None]
    assert success_rate([]) is None
    assert success_rate([tried(PROMPT, 1.5, 3), tried(RESTART, 0, 1)]) == 0.375


names = st.sampled_from([PROMPT, RESTART, RESET, "tool_retry", "custom:mine", ESCALATE])
many_names = st.lists(names, unique=True).map(tuple)


@st.composite
def trials_of(draw: st.DrawFn) -> Trials:
    count = draw(st.integers(0, 200))
    return Trials(
        draw(names),
        draw(st.sampled_from([STALL, "tool_loop"])),
        draw(st.sampled_from(["bob", "alice", ""])),
        count,
        draw(st.integers(0, 2 * count)) / 2,
    )


many_trials = st.lists(trials_of(), max_size=12)


@given(many_names, many_trials, st.integers())
def test_an_order_is_a_permutation_that_keeps_escalation_in_place(
    strategies: tuple[str, ...], trials: list[Trials], seed: int
) -> None:
    found = order(strategies, trials, random.Random(seed), alert_type=STALL, agent="bob")
    assert sorted(found) == sorted(strategies)
    if ESCALATE in strategies:
        place = strategies.index(ESCALATE)
        assert set(found[:place]) == set(strategies[:place])
        assert found[place] == ESCALATE


@given(many_names, many_trials, st.integers(), st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_does_not_matter(
    strategies: tuple[str, ...], trials: list[Trials], seed: int, shuffler: random.Random
) -> None:
    found = order(strategies, trials, random.Random(seed), alert_type=STALL, agent="bob")
    shuffled = list(trials)
    shuffler.shuffle(shuffled)
    again = order(strategies, shuffled, random.Random(seed), alert_type=STALL, agent="bob")
    assert again == found


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_more_success_never_sets_a_strategy_back(
    won: int, lost: int, other_won: int, other_lost: int
) -> None:
    other = tried(PROMPT, other_won, other_won + other_lost)
    before = ordered([other, tried(RESTART, won, won + lost)])
    after = ordered([other, tried(RESTART, won + 60, won + 60 + lost)])
    assert after.index(RESTART) <= before.index(RESTART)
