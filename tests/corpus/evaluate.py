"""`make eval`: how well sessions are judged, by alert type.

Exits with 1 where precision or recall of a type is below the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

from tests.corpus import hard
from tests.corpus.case import ALERT_TYPES, NOT_IN_RECORDINGS, Case, Judge
from tests.corpus.generate import DEFAULT_SEED, generate
from tests.corpus.judge import debbie
from tests.corpus.scoring import TARGET, Score, Verdict, judge_case, tally

_HEAD = "{:16} {:>5} {:>4} {:>4} {:>4} {:>9} {:>7} {:>11} {:>9} {:>8}"
_COLUMNS = ("type", "cases", "TP", "FP", "FN", "precision", "recall", "median", "p95", "healthy")


def cases(seed: str, alert_type: str | None = None) -> Iterator[Case]:
    """Yield the hand-made and the generated cases; of one alert type also all healthy ones."""
    for case in (*hard.load(), *generate(seed)):
        types = {expected.alert_type for expected in case.label.anomalies}
        if alert_type is None or alert_type in types or case.label.healthy:
            yield case


def evaluate(chosen: Iterable[Case], judge: Judge) -> list[Verdict]:
    """Have all cases judged."""
    return [judge_case(case, judge) for case in chosen]


def table(verdicts: Sequence[Verdict], alert_type: str | None = None) -> tuple[list[str], bool]:
    """Return the lines of the result, and whether the target is reached throughout."""
    scores = [
        score
        for score in tally(verdicts).values()
        if (alert_type is None or score.alert_type == alert_type)
        and (score.cases or score.false_positives)
    ]
    healthy = [verdict for verdict in verdicts if verdict.label.healthy]
    alerted = sum(not verdict.passed for verdict in healthy)
    lines = [_HEAD.format(*_COLUMNS), *map(_row, scores)]
    lines += [f"{skipped:16} not in recordings" for skipped in NOT_IN_RECORDINGS]
    lines.append(
        f"{len(verdicts) - len(healthy)} anomalous sessions, {len(healthy)} healthy ones, "
        f"of which {alerted} with alerts; target {TARGET}"
    )
    return lines, all(score.good for score in scores)


def _row(score: Score) -> str:
    return _HEAD.format(
        score.alert_type,
        score.cases,
        score.true_positives,
        score.false_positives,
        score.false_negatives,
        f"{score.precision:.3f}",
        f"{score.recall:.3f}",
        _seconds(score.delay(0.5)),
        _seconds(score.delay(0.95)),
        score.healthy_alerted,
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def failures(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Tell, case by case, what was missed and what was wrong."""
    for verdict in verdicts:
        if verdict.passed:
            continue
        yield f"{verdict.label.name} (ends {verdict.label.end:.1f})"
        for missed in verdict.missed:
            yield f"  missed {missed.alert_type} {missed.onset:.2f}..{missed.deadline:.2f}"
        for alert in verdict.alerts:
            mark = "wrong" if alert in verdict.wrong else "saw"
            yield f"  {mark} {alert.alert_type} at {alert.t:.2f}: {alert.message}"


def main(arguments: Sequence[str] | None = None, judge: Judge = debbie) -> int:
    """Evaluate, print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.evaluate", description=__doc__)
    parser.add_argument("--seed", default=DEFAULT_SEED, help="another seed, another corpus")
    parser.add_argument("--type", choices=ALERT_TYPES, help="one alert type, and healthy sessions")
    parser.add_argument("--verbose", action="store_true", help="list what was judged wrongly")
    options = parser.parse_args(arguments)
    verdicts = evaluate(cases(options.seed, options.type), judge)
    if options.verbose:
        print("\n".join(failures(verdicts)))
    lines, good = table(verdicts, options.type)
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
