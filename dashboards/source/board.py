"""What all dashboards share: variables, annotations, the dashboard around rows of panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import promql as q
from dashboards.source.panels import BLUE, ORANGE, PROMETHEUS, Row


class _QueryVariable(boards.QueryVariable):
    """Without the defaults of variables for intervals, which the SDK gives to all kinds."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._internal.auto = self._internal.auto_min = self._internal.auto_count = None


class _TextVariable(boards.TextBoxVariable):
    """The same."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._internal.auto = self._internal.auto_min = self._internal.auto_count = None


def variable(name: str, text: str, query: str, *, regex: str = "") -> boards.QueryVariable:
    """Return a variable of several values, all by default."""
    made = (
        _QueryVariable(name)
        .label(text)
        .description(f"Show only these: {text.lower()}.")
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )
    return made.regex(regex) if regex else made


def service(of: str = q.MESSAGES) -> boards.QueryVariable:
    """Return the variable `service`, of the services that have a metric."""
    return variable("service", "Service", f"label_values({of}, {q.SERVICE})")


AGENTS: Final = (
    "agent", "Agent", f'label_values({q.TURN_TIME}_count{{{q.SERVICE}=~"$service"}}, {q.AGENT})'
)  # fmt: skip
METHODS: Final = (
    "method", "Method", f'label_values({q.MESSAGES}{{{q.SERVICE}=~"$service"}}, {q.RPC_METHOD})'
)  # fmt: skip
TOOLS: Final = (
    "tool", "Tool", f'label_values({q.TOOLS}{{{q.SERVICE}=~"$service"}}, {q.TOOL})'
)  # fmt: skip

_JAEGER: Final = "http://localhost:16686"
_TAG: Final = "debbie"


def _annotation(
    name: str, colour: str, expression: str, title: str, text: str
) -> Builder[model.AnnotationQuery]:
    return (
        boards.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(colour)
        .expr(expression)
        .step("60s")
        .title_format(title)
        .text_format(text)
    )


def marks(where: str) -> list[Builder[model.AnnotationQuery]]:
    """Return the marks on every time series: each intervention, and when a person was told.

    Args:
        where: Matcher of the services.

    """
    by = (q.SERVICE, q.ALERT, q.STRATEGY, q.RESULT)
    acted = q.select(q.INTERVENTIONS, where, f'{q.RESULT}!~"skipped|escalated"')
    escalated = q.select(q.INTERVENTIONS, where, q.ESCALATED)
    text = f"for {q.legend(q.ALERT)} in {q.legend(q.SERVICE)}"
    return [
        _annotation(
            "Interventions",
            BLUE,
            f"{q.total(q.events(acted, '1m'), *by)} > 0",
            f"{q.legend(q.STRATEGY)}: {q.legend(q.RESULT)}",
            text,
        ),
        _annotation(
            "Escalations",
            ORANGE,
            f"{q.total(q.events(escalated, '1m'), *by)} > 0",
            "A person was told",
            text,
        ),
    ]


class Board(boards.Dashboard):
    """A dashboard with what all of them share: time, variable for Jaeger, annotations, links.

    Args:
        uid: In its URL.
        title: After "Debbie: ".
        description: What it shows.
        annotated: Matcher of the services whose interventions are marked.

    """

    def __init__(
        self, uid: str, title: str, description: str, annotated: str = 'service_name=~"$service"'
    ) -> None:
        super().__init__(f"Debbie: {title}")
        self.uid(uid).description(description).tags([_TAG]).timezone("browser").editable()
        self.tooltip(model.DashboardCursorSync.CROSSHAIR).time("now-1h", "now").refresh("30s")
        self.annotations(marks(annotated))
        self.link(
            boards.DashboardLink("Debbie")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .include_vars(True)
            .keep_time(True)
        )

    def filled(
        self, variables: Sequence[Builder[model.VariableModel]], rows: Sequence[Row]
    ) -> Self:
        """Add variables and rows."""
        jaeger = _TextVariable("jaeger").label("Jaeger").default_value(_JAEGER)
        self.variables([*variables, jaeger.description("Where links to traces lead.")])
        number = 0
        for row in rows:
            self.with_row(boards.Row(row.title))
            for panel in row.panels:
                number += 1
                self.with_panel(_Numbered(panel, number))
        return self


class _Numbered(Builder[model.Panel]):
    """A panel with an id, which links to a single panel need."""

    def __init__(self, panel: Builder[model.Panel], number: int) -> None:
        self._panel = panel
        self._number = number

    def build(self) -> model.Panel:
        built = self._panel.build()
        built.id_val = self._number
        return built
