"""Our own failures never reach the wire."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("debbie_otel")


class FailOpen:
    """Swallows, counts and logs exceptions of our own code; raises them under test.

    Args:
        count: Called with the name of the place, once a failure.
        strict: Raise instead; by default where pytest runs.

    """

    def __init__(
        self, count: Callable[[str], None] = lambda _: None, *, strict: bool | None = None
    ) -> None:
        self.strict = "PYTEST_CURRENT_TEST" in os.environ if strict is None else strict
        self._count = count
        self._told: set[str] = set()

    @contextmanager
    def __call__(self, place: str) -> Iterator[None]:
        """Guard a block; `place` names it in the log and in the counter."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - which is what this class is for
            self.failed(place, error)

    def tell(self, topic: str, text: str) -> None:
        """Log a warning, the first one of its topic only."""
        if topic not in self._told:
            self._told.add(topic)
            logger.warning("%s", text)

    def failed(self, place: str, error: Exception) -> None:
        """Take note of a failure; only the first one of a place is logged in full."""
        if self.strict:
            raise error
        self._count(place)
        if place not in self._told:
            self._told.add(place)
            logger.error("%s failed; the connection goes on without it", place, exc_info=error)
