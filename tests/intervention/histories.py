"""Histories for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import HistorySettings
from tests.intervention.attempts import NOW, attempt

Open = Callable[..., InterventionHistory]
LIMIT = 10.0
"""Seconds that something may take at the most."""


def fill(path: Path, count: int) -> None:
    """Make a file with so many attempts."""
    history = InterventionHistory(path, HistorySettings(), lambda: NOW)
    for _ in range(count):
        history.add(attempt())
    history.close()
