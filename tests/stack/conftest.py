"""Skips, by name and with the reason, what a missing peer keeps from running."""

from __future__ import annotations

import pytest

from tests.integration.conftest import clean
from tests.stack import cache

__all__ = ["clean"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("stack"):
            reasons = [why for peer in mark.args if (why := cache.missing(peer)) is not None]
            if reasons:
                reason = f"{item.nodeid}: {'; '.join(reasons)}"
                item.add_marker(pytest.mark.skip(reason=reason))
