"""Which strategy first: learned from what has worked, slowly, and never for good.

Pure: counts in, an order out; chance comes in as an argument.

What is known of a strategy is a Beta distribution of its rate of success. It starts from a prior
that knows little, takes in what happened with the same alert type under other agents (as at most
`BORROWED` trials), and then what happened under this agent in full. A strategy overtakes one that
is configured before it only where the lower bound of its rate is above the upper bound of the
other's: five lucky trials decide nothing, fifty clear ones do. Now and then (`EXPLORE`) another
one is tried first all the same, for what failed a month ago may work today.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from debbie_otel.intervention.records import InterventionResult, InterventionStrategy

PRIOR = 2.0
"""Successes and failures that each strategy is thought to have had before its first trial."""

BORROWED = 20.0
"""Trials that experience with other agents counts as, at the most."""

SURE = 2.33
"""Standard deviations from the mean to a bound: 99 % on one side, if it were a normal one."""

EXPLORE = 0.1
"""Share of alerts in which a strategy is tried first that is not the best known."""

_WORTH = {
    InterventionResult.SUCCESS: 1.0,
    InterventionResult.PARTIAL_SUCCESS: 0.5,
    InterventionResult.FAILURE: 0.0,
}
"""Successes that a result counts as; results that are not here are no trial."""


class Tally(NamedTuple):
    """How many attempts there were of one kind."""

    strategy: str
    alert_type: str
    agent: str
    result: InterventionResult
    attempts: int


class Trials(msgspec.Struct, frozen=True):
    """How often something was tried, and what it was worth.

    Attributes:
        strategy, alert_type, agent: What was tried, why, and on whom.
        count: Attempts that succeeded, wholly or in part, or failed.
        worth: Successes among them; a partial one is half a success.

    """

    strategy: str
    alert_type: str
    agent: str
    count: int
    worth: float


def worth(result: InterventionResult) -> float | None:
    """Return what a result counts as: 1, half, or 0; None where nothing was tried."""
    return _WORTH.get(result)


def trials_of(tallies: Iterable[Tally]) -> list[Trials]:
    """Add up the attempts that count, by strategy, alert type and agent."""
    found: dict[tuple[str, str, str], tuple[int, float]] = {}
    for strategy, alert_type, agent, result, attempts in tallies:
        value = worth(result)
        if value is not None:
            key = (strategy, alert_type, agent)
            count, total = found.get(key, (0, 0.0))
            found[key] = count + attempts, total + attempts * value
    return [Trials(*key, *numbers) for key, numbers in found.items()]


def success_rate(trials: Iterable[Trials]) -> float | None:
    """Return successes in trials, 0 to 1; None without trials."""
    count, total = _sum(trials)
    return total / count if count else None


def order(
    strategies: Sequence[str],
    trials: Iterable[Trials],
    rng: random.Random,
    *,
    alert_type: str,
    agent: str = "",
    explore: float = EXPLORE,
) -> tuple[str, ...]:
    """Return the strategies for an alert, what has worked best first.

    Nothing moves past `escalate`: a person is called neither earlier nor later than configured.

    Args:
        strategies: As configured; without evidence it stays like this.
        trials: What is known, also of other alerts and agents.
        rng: Decides when to explore, and what; seeded, it gives the same again.
        alert_type: Of the alert.
        agent: In whose session it is.
        explore: Share of calls in which another strategy comes first, 0 to 1.

    """
    relevant = [known for known in trials if known.alert_type == alert_type]
    ordered: list[str] = []
    for escalation, group in groupby(strategies, InterventionStrategy.ESCALATE.__eq__):
        run = list(group)
        ordered += run if escalation else _order_acting(run, relevant, agent, rng, explore)
    return tuple(ordered)


def _order_acting(
    strategies: list[str], trials: list[Trials], agent: str, rng: random.Random, explore: float
) -> list[str]:
    bounds = {name: _bounds(name, trials, agent) for name in strategies}
    best: list[str] = []
    for name in strategies:
        low = bounds[name][0]
        worse = (place for place, other in enumerate(best) if low > bounds[other][1])
        best.insert(next(worse, len(best)), name)
    if len(best) > 1 and rng.random() < explore:
        best.insert(0, best.pop(rng.randrange(1, len(best))))
    return best


def _bounds(strategy: str, trials: list[Trials], agent: str) -> tuple[float, float]:
    """Return the lower and the upper bound of a strategy's rate of success."""
    own = [t for t in trials if t.strategy == strategy and t.agent == agent]
    others = [t for t in trials if t.strategy == strategy and t.agent != agent]
    count, total = _sum(others)
    share = min(1.0, BORROWED / count) if count else 0.0
    own_count, own_total = _sum(own)
    won = PRIOR + share * total + own_total
    lost = PRIOR + share * (count - total) + own_count - own_total
    mean = won / (won + lost)
    margin = SURE * math.sqrt(mean * (1 - mean) / (won + lost + 1))
    return mean - margin, mean + margin


def _sum(trials: Iterable[Trials]) -> tuple[int, float]:
    count, total = 0, 0.0
    for known in trials:
        count += known.count
        total += known.worth
    return count, total
