"""Links from a series to the traces behind it, in Jaeger."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import promql as q


class Traces(NamedTuple):
    """A link to the traces behind a series.

    Attributes:
        title: What one will see.
        tags: Pairs of a span attribute and the label of the series with its value, or a value in
            quotes.

    """

    title: str
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """Jaeger's search, for the time that the dashboard shows (microseconds there)."""
        tags = ",".join(f'"{name}":"{_tag(value)}"' for name, value in self.tags)
        search = f"&tags={_quoted('{' + tags + '}')}" if tags else ""
        return (
            f"${{jaeger}}/search?service=${{__field.labels.{q.SERVICE}}}"
            f"&lookback=custom&start=${{__from}}000&end=${{__to}}000&limit=50{search}"
        )


def _tag(value: str) -> str:
    return value.strip("'") if value.startswith("'") else f"${{__field.labels.{value}}}"


def _quoted(text: str) -> str:
    """Escape for a URL, but not Grafana's variables."""
    parts = re.split(r"(\$\{[^}]+\})", text)
    return "".join(part if part.startswith("${") else quote(part, safe="") for part in parts)


def data_links(links: Iterable[Traces]) -> list[Builder[model.DashboardLink]]:
    """Return the data links of a panel."""
    return [_Link(link.title, link.url) for link in links]


class _Link(boards.DashboardLink):
    """A data link: Grafana's schema leaves its type open, so it is only what Grafana reads."""

    def __init__(self, title: str, url: str) -> None:
        super().__init__(title)
        self.url(url).target_blank(True)
