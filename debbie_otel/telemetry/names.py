"""Names from the wire, bounded before they become attributes of metrics."""

from __future__ import annotations

from collections.abc import Iterable

from debbie_otel import semconv


class Names:
    """Lets the first `limit` names through besides those known from the start."""

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._names = {name: name for name in known}
        self._room = limit

    def __call__(self, name: str) -> str:
        """Return the name, or `_OTHER`."""
        found = self._names.get(name)
        if found is not None:
            return found
        if self._room <= 0:
            return semconv.OTHER
        self._room -= 1
        name = name[:128]
        self._names[name] = name
        return name
