"""Fixtures of the history's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import HistorySettings
from tests.intervention.attempts import NOW
from tests.intervention.histories import Open


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the history's file will be."""
    return tmp_path / "data" / "history.sqlite3"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens histories on one file, or another, and closes them in the end."""
    histories: list[InterventionHistory] = []

    def open_(where: Path | None = path, **settings: Any) -> InterventionHistory:
        history = InterventionHistory(where, HistorySettings(**settings), lambda: NOW)
        histories.append(history)
        return history

    yield open_
    for history in histories:
        history.close()
