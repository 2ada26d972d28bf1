"""What a span is in OTLP, whatever the encoding: grouping, flags, limits, what is left out.

Sources: opentelemetry-proto, `trace/v1/trace.proto`; and, for what a span's fields become, the
SDK's `opentelemetry.exporter.otlp.proto.common.trace_encoder`, with one difference: the trace
state of a link is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceState

from debbie_otel.telemetry.spans import OpenSpan

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
Scopes = dict[InstrumentationScope, list[OpenSpan]]

CACHED_ATTRIBUTES: Final = 4096
CACHED_LENGTH: Final = 128  # longer texts hardly repeat, and would make the cache big
HAS_IS_REMOTE: Final = 0x100  # SpanFlags of trace.proto
IS_REMOTE: Final = 0x200
# OTLP keeps 0 for "unspecified", so its kinds are one higher than the API's. By id, because the
# hash of an enum member costs as much as several attributes.
KINDS: Final = {id(kind): kind.value + 1 for kind in SpanKind}


def grouped(spans: Iterable[OpenSpan]) -> list[tuple[Resource, Scopes]]:
    """Group by resource, then by scope, in order of first appearance.

    Hashing or comparing a resource is slow, so it is done once per origin, not once per span.
    """
    groups: list[tuple[Resource, Scopes]] = []
    buckets: dict[int, list[OpenSpan]] = {}
    for span in spans:
        origin = span.origin
        bucket = buckets.get(id(origin))
        if bucket is None:
            resource = origin.resource
            scopes = next((s for r, s in groups if r is resource or r == resource), None)
            if scopes is None:
                scopes = {}
                groups.append((resource, scopes))
            bucket = buckets[id(origin)] = scopes.setdefault(origin.scope, [])
        bucket.append(span)
    return groups


def each(encode: Callable[[OpenSpan], _T], spans: list[OpenSpan]) -> list[_T]:
    """Encode all; a span that cannot be encoded is left out, and does not cost the others."""
    try:
        return [encode(span) for span in spans]
    except Exception:
        _logger.exception("a span cannot be encoded and is left out")
    encoded: list[_T] = []
    for span in spans:
        try:
            encoded.append(encode(span))
        except Exception as error:  # noqa: BLE001
            _logger.debug("left out: %r", error)
    return encoded


def pairs_of(encode: Callable[[str, Any], _T], attributes: Mapping[str, Any] | None) -> list[_T]:
    """Encode attributes; one of an impossible type or size is left out, as the SDK does."""
    encoded: list[_T] = []
    for key, value in (attributes or {}).items():
        try:
            encoded.append(encode(key, value))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            _logger.debug("attribute %r is left out: %s", key, error)
    return encoded


def int64(value: int) -> int:
    """Return an integer that OTLP can hold; raise ValueError."""
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an integer of more than 64 bits")
    return int(value)


def flags_of(context: SpanContext | None) -> int:
    """Return SpanFlags for a span's parent, or for a link's context."""
    return HAS_IS_REMOTE | IS_REMOTE if context and context[2] else HAS_IS_REMOTE


def state_text(state: TraceState | None) -> str:
    """Return a trace state as in the header of W3C Trace Context; may be empty."""
    return ",".join(f"{key}={value}" for key, value in state.items()) if state else ""
