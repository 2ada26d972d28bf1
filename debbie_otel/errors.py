"""The exceptions of debbie_otel.

DebbieError
├── ConfigurationError     a setting, a flag or a file of the user is wrong (exit code 2)
│   ├── DialectError       ... namely a dialect's TOML
│   └── RecordingError     ... namely a recording to replay
└── InspectionError        the inspection of one connection cannot go on (never leaves the tap)
"""

from __future__ import annotations


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


class InspectionError(DebbieError):
    """Bytes can no longer be understood: the connection is passed on without inspection."""
