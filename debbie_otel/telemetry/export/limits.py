"""Limits on spans and exemplars that variables ask for, as every OpenTelemetry program keeps them.

Our spans stay far below the limits that hold without a variable, so nothing is done then. Sources:
OpenTelemetry specification, "Attribute Limits", "Span Limits", "Exemplar".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import environment_variables as variables
from opentelemetry.sdk.trace import Event, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link
from opentelemetry.util.types import Attributes

from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.spans import OpenSpan

LIMITS = (
    variables.OTEL_ATTRIBUTE_COUNT_LIMIT,
    variables.OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    variables.OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT,
    variables.OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    variables.OTEL_SPAN_EVENT_COUNT_LIMIT,
    variables.OTEL_SPAN_LINK_COUNT_LIMIT,
    variables.OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT,
    variables.OTEL_LINK_ATTRIBUTE_COUNT_LIMIT,
)
_EXEMPLAR_FILTERS = ("trace_based", "always_on", "always_off")

_NONE = SharedAttributes({})

Sink = Callable[[OpenSpan], None]


def span_limits(environ: Mapping[str, str]) -> SpanLimits | None:
    """Return the limits that the variables ask for; None where none is set.

    Raises:
        ConfigurationError: A variable is not a number.

    """
    if not any(environ.get(name, "").strip() for name in LIMITS):
        return None
    try:
        return SpanLimits()
    except ValueError as error:
        raise ConfigurationError("OTEL_*_LIMIT", str(error)) from None


def limited(sink: Sink, limits: SpanLimits | None) -> Sink:
    """Return what takes finished spans, and cuts them where that is asked for."""
    return sink if limits is None else lambda span: sink(_cut(span, limits))


def exemplars_wanted(environ: Mapping[str, str]) -> bool:
    """Tell whether Debbie's histograms carry exemplars; where they do, those of sampled spans.

    Raises:
        ConfigurationError: `OTEL_METRICS_EXEMPLAR_FILTER` is none of the known.

    """
    name = variables.OTEL_METRICS_EXEMPLAR_FILTER
    chosen = environ.get(name, "trace_based")
    if chosen not in _EXEMPLAR_FILTERS:
        raise ConfigurationError(name, f"unknown: {chosen!r}", ", ".join(_EXEMPLAR_FILTERS))
    return chosen != "always_off"


def _cut(span: OpenSpan, limits: SpanLimits) -> OpenSpan:
    """Return a span with what the SDK would have kept, in the SDK's own bounded containers."""

    def bounded(attributes: Attributes, count: int | None) -> BoundedAttributes:
        return BoundedAttributes(count, attributes, max_value_len=limits.max_attribute_length)

    attributes = BoundedAttributes(
        limits.max_span_attributes,
        {**span.shared, **span.attributes},
        max_value_len=limits.max_span_attribute_length,
    )
    events = BoundedList.from_seq(
        limits.max_events,
        [
            Event(each.name, bounded(each.attributes, limits.max_event_attributes), each.timestamp)
            for each in span.events
        ],
    )
    links = BoundedList.from_seq(
        limits.max_links,
        [
            Link(each.context, bounded(each.attributes, limits.max_link_attributes))
            for each in span.links
        ],
    )
    return msgspec.structs.replace(
        span,
        shared=_NONE,
        attributes=attributes,
        events=events,
        links=links,
        dropped=(attributes.dropped, events.dropped, links.dropped),
    )
