"""What arrived by OTLP, decoded with opentelemetry-proto: spans as a tree, metrics as numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from debbie_otel import semconv
from tests.telemetry.export.otlp_lines import parse_line

Attributes = dict[str, Any]
Series = tuple[tuple[str, Any], ...]
"""A metric's attribute set, sorted."""


@dataclass(frozen=True, eq=False)
class Span:
    """One span as it was received.

    `links` are (kind of link, span id); `error` is the status description, None without an error.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: Attributes
    links: tuple[tuple[str, str], ...]
    error: str | None
    resource: Attributes
    scope: tuple[str, str, str]

    def picked(self, *prefixes: str) -> Attributes:
        """Attributes whose names begin so."""
        return {k: v for k, v in self.attributes.items() if k.startswith(prefixes)}


_JUDGEMENTS = ("debbie.alert ", "debbie.intervention ", "debbie.recovery")


class Spans:
    """All spans of a run, in the order in which they ended.

    Attributes:
        all: Every one.
        wire: Those that tell what passed, not what Debbie thinks of it (which takes time to tell).
        by_id: By span id.

    """

    def __init__(self, requests: Iterable[ExportTraceServiceRequest]) -> None:
        self.all = [span for request in requests for span in _spans(request)]
        self.wire = [span for span in self.all if not span.name.startswith(_JUDGEMENTS)]
        self.by_id = {span.span_id: span for span in self.all}

    @classmethod
    def of_file(cls, path: Path) -> Spans:
        """Read OTLP JSON lines."""
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return cls(parse_line(line) for line in lines)

    def named(self, name: str) -> list[Span]:
        """Spans of that name, by start."""
        return sorted((s for s in self.all if s.name == name), key=lambda span: span.start)

    def one(self, name: str) -> Span:
        """Return the only span of that name."""
        (found,) = self.named(name)
        return found

    @property
    def turns(self) -> list[Span]:
        """Roots of turns, by start."""
        turns = [s for s in self.all if s.name.startswith("invoke_agent ")]
        return sorted(turns, key=lambda span: span.start)

    @property
    def orphans(self) -> list[str]:
        """Names of spans whose parent did not arrive, or is in another trace."""
        return [
            span.name
            for span in self.all
            if span.parent_id
            and (
                span.parent_id not in self.by_id
                or self.by_id[span.parent_id].trace_id != span.trace_id
            )
        ]

    def tree(self) -> list[str]:
        """Return a line a span, children indented below their parent, in the order of their ends.

        That order is the wire's also where several messages came in one read and so at one time.
        """
        children: dict[str, list[Span]] = defaultdict(list)
        for span in self.wire:
            children[span.parent_id].append(span)

        def lines(parent: str, depth: int) -> Iterator[str]:
            for span in children[parent]:
                yield "  " * depth + self._line(span)
                yield from lines(span.span_id, depth + 1)

        return list(lines("", 0))

    def _line(self, span: Span) -> str:
        parts = [f"{span.name} [{span.kind}]"]
        if (chunks := span.attributes.get(semconv.STREAM_CHUNKS)) is not None:
            parts.append(f"x{chunks}")
        if (outcome := span.attributes.get(semconv.TURN_OUTCOME)) is not None:
            parts.append(f"#{span.attributes[semconv.TURN_NUMBER]} {outcome}")
        parts += [f"-> {kind}{self._linked(span_id)}" for kind, span_id in span.links]
        if span.error is not None:
            reason = span.error.partition("\n")[0]
            parts.append(f"ERROR {span.attributes[semconv.ERROR_TYPE]}: {reason}")
        return " ".join(parts)

    def _linked(self, span_id: str) -> str:
        target = self.by_id.get(span_id)
        number = "?" if target is None else target.attributes.get(semconv.TURN_NUMBER)
        return "" if number is None else f" #{number}"


class Metrics:
    """The last value of every series; all of debbie's are cumulative.

    Attributes:
        sums: Counters and levels by name and attribute set.
        counts: Numbers of measurements of histograms likewise.
        exemplars: By name, the (trace id, span id) of each exemplar.
        units: By name.

    """

    def __init__(self, requests: Iterable[ExportMetricsServiceRequest]) -> None:
        self.sums: dict[str, dict[Series, float]] = defaultdict(dict)
        self.counts: dict[str, dict[Series, int]] = defaultdict(dict)
        self.exemplars: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.units: dict[str, str] = {}
        self.resources: list[Attributes] = []
        self.scopes: set[tuple[str, str]] = set()
        for request in requests:
            for resource_metrics in request.resource_metrics:
                self.resources.append(_attributes(resource_metrics.resource.attributes))
                for scope in resource_metrics.scope_metrics:
                    self.scopes.add((scope.scope.name, scope.scope.version))
                    for metric in scope.metrics:
                        self._add(metric)

    def total(self, name: str, **attributes: str) -> float:
        """Add up the series of a counter that have these attributes (`__` stands for a dot)."""
        wanted = {(key.replace("__", "."), value) for key, value in attributes.items()}
        return sum(v for series, v in self.sums[name].items() if wanted <= set(series))

    def by(self, name: str, *keys: str) -> Counter[tuple[Any, ...]]:
        """Return counts by these attributes, of a counter or a histogram; absent is None."""
        found: Counter[tuple[Any, ...]] = Counter()
        for series, value in (self.counts.get(name) or self.sums[name]).items():
            attributes = dict(series)
            found[tuple(attributes.get(key) for key in keys)] += int(value)
        return found

    def _add(self, metric: Any) -> None:
        self.units[metric.name] = metric.unit
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points:
            series: Series = tuple(sorted(_attributes(point.attributes).items()))
            if kind == "histogram":
                self.counts[metric.name][series] = point.count
            else:
                self.sums[metric.name][series] = getattr(point, point.WhichOneof("value"))
            for exemplar in point.exemplars:
                ids = exemplar.trace_id.hex(), exemplar.span_id.hex()
                self.exemplars[metric.name].add(ids)


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            head = scope_spans.scope
            for span in scope_spans.spans:
                yield Span(
                    span.name,
                    ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                    tuple(
                        (_attributes(link.attributes)[semconv.LINK_TYPE], link.span_id.hex())
                        for link in span.links
                    ),
                    span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
                    resource,
                    (head.name, head.version, scope_spans.schema_url),
                )


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(entry) for entry in value.array_value.values]
    return None if kind is None else getattr(value, kind)
