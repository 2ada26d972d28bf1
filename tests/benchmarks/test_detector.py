"""The detector's benchmark measures something, if little of it here."""

from __future__ import annotations

from benchmarks.detector import Settings, as_text, run


async def test_a_small_run_has_all_the_figures() -> None:
    settings = Settings(sessions=20, interval=0.1, seconds=0.2, slices=1, trials=2, events=640)
    figures = await run(settings)
    assert len(figures.without) > 10
    assert len(figures.with_looks) > 10
    assert len(figures.loops) == len(figures.bursts) == 2
    assert min(figures.loops + figures.bursts) > 0
    assert figures.event_us > 0
    assert "tool loop to alert: median" in as_text(settings, figures)
