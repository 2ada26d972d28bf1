"""Arguments of calls, drawn at random."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

patiently = settings(suppress_health_check=[HealthCheck.too_slow])
"""For the first text of all: hypothesis then builds its tables of Unicode, which takes a second."""

NAMES = st.sampled_from(["query", "limit", "filter", "deep", "list", "flag"])


SCALARS = st.integers(-5, 99) | st.booleans() | st.text(max_size=12) | st.floats(-9, 9, width=16)


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def plain(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments)
