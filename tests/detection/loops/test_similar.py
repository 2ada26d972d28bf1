"""Near-duplicates are told from a series of honest work."""

from __future__ import annotations

import pytest

from debbie_otel.detection.loops.canonical import Leaves
from debbie_otel.detection.loops.similar import dice, series


def test_similarity_is_one_for_the_same_and_none_for_what_has_nothing_in_common() -> None:
    question = (".query", "how to configure retries")
    assert dice(question, question) == 1.0
    assert dice(question, (".query", "HOW to configure retries")) == 1.0
    assert dice((".q", "aaaaaaaa"), (".q", "bbbbbbbb")) == 0.0
    assert dice((".q", "a"), (".q", "a")) == 1.0
    assert dice((".q", "short"), (".q", "short" * 20)) == 0.0


def test_similarity_falls_with_each_change() -> None:
    question = (".query", "how to configure retries in the client")
    near = dice(question, (".query", "how to configure retries in a client"))
    far = dice(question, (".query", "how do retries of some client work now"))
    assert 0 < far < near < 1


@pytest.mark.parametrize(
    ("member", "values", "runs_through"),
    [
        (".path", ["docs/a.md", "docs/b.md", "docs/c.md"], "names"),
        (".page", ["1", "2", "3"], "numbers"),
        (".query", ["price of apples", "price of pears", "price of quinces"], "words"),
        (".query", ["retries attempt 1", "retries attempt 2", "retries attempt 3"], "numbers"),
        (".query", ["retry policy", "retry the policy", "the retry policy"], None),
        (".query", ["retry policy", "retry policies", "retry policy"], None),
    ],
)
def test_what_the_arguments_run_through(
    member: str, values: list[str], runs_through: str | None
) -> None:
    assert series([(member, value) for value in values]) == runs_through


def test_different_members_are_no_series() -> None:
    group: list[Leaves] = [(".path", "a"), (".file", "b")]
    assert series(group) is None
