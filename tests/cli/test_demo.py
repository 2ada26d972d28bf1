"""The demo where nobody helps its agent."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from debbie_otel.app.config import config_of
from debbie_otel.cli import demo as show


async def test_it_ends_where_debbie_may_not_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setattr(show, "_LEAST_PATIENCE", 1.5)
    config = config_of(
        {"proxy": {"profile": "passive"}, "telemetry": {"data_dir": str(tmp_path)}},
    )
    await show.run_demo(config, Console(highlight=False), 100)
    said = capfd.readouterr().out
    assert said.count("\n-- ") == 2  # all is well, and the first mishap
    assert "Nothing came for 1.5 s, and nobody helped: the demo ends here." in said
    assert "Intervention skipped" in said
    assert f"spans written to {tmp_path}/traces.jsonl" in said
