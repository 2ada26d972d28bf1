"""Span attributes in two layers: what all spans of a session share, and what is a span's own.

The shared layer is neither copied for each span nor encoded again: `encoded` keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

AttributeValue = str | bool | int | float | Sequence[str]
Attributes = dict[str, AttributeValue]


class SharedAttributes(Attributes):
    """Attributes that do not change any more.

    Attributes:
        encoded: Their OTLP encoding, once there is one.

    """

    __slots__ = ("encoded",)

    def __init__(self, values: Mapping[str, AttributeValue]) -> None:
        super().__init__(values)
        self.encoded: bytes | None = None


class LayeredAttributes(Mapping[str, AttributeValue]):
    """Shared attributes and a span's own, which have no name in common."""

    __slots__ = ("own", "shared")

    def __init__(self, shared: SharedAttributes, own: Attributes) -> None:
        self.shared = shared
        self.own = own

    def __getitem__(self, name: str) -> AttributeValue:
        """Return a value."""
        return self.own[name] if name in self.own else self.shared[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names, the shared ones first."""
        yield from self.shared
        yield from self.own

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.shared) + len(self.own)
