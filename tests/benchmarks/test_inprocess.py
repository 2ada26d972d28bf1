"""The benchmark inside a program measures something, if little of it here."""

from __future__ import annotations

import pytest

from benchmarks.inprocess import Figures, Settings, measure, report


async def test_a_small_run_has_all_the_figures() -> None:
    settings = Settings(calls=64, turns=2)
    figures = await measure(settings)
    for values in (figures.plain, figures.observed, figures.lent):
        assert len(values) == 2
        assert min(values) > 0
    assert "observed" in report(figures, settings)


@pytest.mark.parametrize(("added", "said"), [(14.9, "; kept"), (15.1, "; NOT KEPT")])
def test_the_limit_is_told(added: float, said: str) -> None:
    figures = Figures([10.0], [10.0 + added], [50.0])
    assert said in report(figures, Settings())
