"""The built-in dialects, one TOML file each, and which of all a connection may speak."""

from __future__ import annotations

from importlib import resources

import msgspec

from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.message import InterceptedMessage

GENERIC = "generic"

MAX_UNRECOGNISED = 256
"""Messages that match no dialect after which a connection is not looked at any more."""


def builtin_dialects() -> dict[str, Dialect]:
    """Return the built-in dialects by name, in the order in which they are tried."""
    files = sorted(resources.files(__package__).iterdir(), key=lambda file: file.name)
    found = [
        Dialect.from_toml(file.read_text(encoding="utf-8"), file.name)
        for file in files
        if file.name.endswith(".toml")
    ]
    return {dialect.name: dialect for dialect in found}


class Dialects(msgspec.Struct, frozen=True):
    """What a connection may speak.

    Attributes:
        known: By name.
        chosen: The one to use; None to recognise it by the messages.

    """

    known: dict[str, Dialect]
    chosen: str | None = None

    @property
    def candidates(self) -> tuple[Dialect, ...]:
        """The dialects among which the messages decide."""
        if self.chosen is not None:
            return (self.known[self.chosen],)
        return tuple(dialect for dialect in self.known.values() if dialect.document.detect)

    @property
    def fallback(self) -> Dialect:
        """What holds while nothing is recognised."""
        return self.known[GENERIC]


class Recognition:
    """Finds the dialect of one connection among several.

    Args:
        candidates: In the order in which they are tried.

    """

    def __init__(self, candidates: tuple[Dialect, ...]) -> None:
        self._candidates = candidates
        self._unrecognised = 0

    def by_subprotocol(self, name: str) -> Dialect | None:
        """Return the dialect that a WebSocket subprotocol belongs to; None if none does."""
        for dialect in self._candidates:
            if name in dialect.document.subprotocols:
                return dialect
        return None

    def by_message(self, message: InterceptedMessage) -> Dialect | None:
        """Return the dialect that a message shows; None if it shows none."""
        for dialect in self._candidates:
            if dialect.recognises(message):
                return dialect
        self._unrecognised += 1
        if self._unrecognised >= MAX_UNRECOGNISED:
            self._candidates = ()
        return None
