"""What a program says of itself to Prometheus, as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.stack.peers import fetch, until

Labels = dict[str, str]
_SERIES = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


def series(text: str, name: str) -> Iterator[tuple[Labels, float]]:
    """Yield labels and value of each series of that name."""
    for line in text.splitlines():
        found = _SERIES.match(line)
        if found is not None and found["name"] == name:
            yield dict(_LABEL.findall(found["labels"] or "")), float(found["value"])


async def total(url: str, name: str, **labels: str) -> float:
    """Add up the series of that name that have these labels."""
    text = await fetch(url) or ""
    return sum(value for got, value in series(text, name) if labels.items() <= got.items())


async def wait_for(url: str, count: float, name: str, **labels: str) -> float:
    """Wait until those series add up to at least `count`."""

    async def look() -> float | None:
        got = await total(url, name, **labels)
        return got if got >= count else None

    got = await until(look, f"{name} {labels} >= {count:g} at {url}")
    assert got is not None
    return got
