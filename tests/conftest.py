"""What holds for every test."""

from __future__ import annotations

import pytest

from debbie_otel.errors import FailOpen


@pytest.fixture(autouse=True)
def _failures_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Debbie's own failures raise, where a test does not say otherwise."""
    defaults = FailOpen.__init__.__kwdefaults__
    assert defaults == {"strict": False}
    monkeypatch.setitem(defaults, "strict", True)
