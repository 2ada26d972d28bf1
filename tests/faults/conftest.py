"""No variables from outside, as for the tests with real peers."""

from __future__ import annotations

from tests.peers.conftest import bare_environment

__all__ = ["bare_environment"]
