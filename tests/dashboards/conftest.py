"""Skips by name what a missing peer keeps from running, as in tests/stack."""

from __future__ import annotations

from tests.stack.conftest import clean, pytest_collection_modifyitems

__all__ = ["clean", "pytest_collection_modifyitems"]
