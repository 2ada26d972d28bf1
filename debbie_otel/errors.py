"""The exceptions of debbie_otel.

DebbieError
├── ConfigurationError     a setting, a flag or a file of the user is wrong (exit code 2)
│   ├── DialectError       ... namely a dialect's TOML
│   └── RecordingError     ... namely a recording to replay
├── ChannelError           a live session could not be reached, or not acted on
├── ForeignFileError       the history's file is another program's, or of a later version
├── RecoveredFirst         the agent went on before a strategy had sent anything
└── InspectionError        the inspection of one connection cannot go on (never leaves the tap)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("debbie_otel")


class DebbieError(Exception):
    """Base of every exception that debbie_otel raises on purpose."""


class ConfigurationError(DebbieError):
    """A setting is wrong.

    Args:
        where: The file, the flag or the variable, with key or line where known.
        what: What is wrong there.
        hint: What to write instead; may be empty.

    """

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        self.where = where
        self.what = what
        self.hint = hint
        super().__init__(f"{where}: {what}" + (f" ({hint})" if hint else ""))


class DialectError(ConfigurationError):
    """A dialect's TOML is wrong."""


class RecordingError(ConfigurationError):
    """A line of a recording is not what the format says."""


class ChannelError(DebbieError):
    """A session could not be reached or acted on: what and why, in one line."""


class ForeignFileError(DebbieError):
    """A file is sound, but not one that this version may write to."""


class RecoveredFirst(DebbieError):  # noqa: N818 - not a failure: the agent was faster
    """The agent went on by itself before anything was sent."""


class InspectionError(DebbieError):
    """Bytes can no longer be understood: the connection is passed on without inspection."""


class FailOpen:
    """Swallows, counts and logs exceptions of Debbie's own code.

    Args:
        count: Called with the name of the place, once a failure.
        strict: Raise instead, as Debbie's own tests want it (tests/conftest.py).

    """

    def __init__(
        self, count: Callable[[str], None] = lambda _: None, *, strict: bool = False
    ) -> None:
        self.strict = strict
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
