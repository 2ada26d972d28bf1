"""No variables from outside, and no thread that outlives its test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.telemetry.pipelines import clean

__all__ = ["bare_environment", "clean"]


@pytest.fixture(scope="module")
def bare_environment() -> Iterator[None]:
    """Take OpenTelemetry's variables away for what a whole module looks at."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("OTEL_")]:
            patch.delenv(variable)
        yield
