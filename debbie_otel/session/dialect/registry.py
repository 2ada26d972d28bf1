"""The built-in dialects, one TOML file each, and which of all a connection may speak."""

from __future__ import annotations

from importlib import resources

import msgspec

from debbie_otel.session.dialect.dialect import Dialect

GENERIC = "generic"


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
