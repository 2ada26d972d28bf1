"""Spans to lines of OTLP/JSON, for files.

Sources: OTLP specification, "JSON Protobuf Encoding" (ids in hex, enums as numbers, 64 bit
integers as strings); "OpenTelemetry Protocol File Exporter" (an object a line).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import DEFAULT_TRACE_STATE, Link, Status, StatusCode

from debbie_otel.telemetry.export.otlp import (
    CACHED_ATTRIBUTES,
    CACHED_LENGTH,
    KINDS,
    Scopes,
    each,
    flags_of,
    grouped,
    int64,
    pairs_of,
    state_text,
)
from debbie_otel.telemetry.spans import NOTHING_DROPPED, OpenSpan

_to_json = msgspec.json.Encoder().encode


def span_lines(spans: Sequence[OpenSpan]) -> bytes:
    r"""Encode spans as one line of OTLP/JSON, `{"resourceSpans":[...]}\n`; never raises."""
    groups = [_json_group(resource, scopes) for resource, scopes in grouped(spans)]
    return _to_json({"resourceSpans": groups}) + b"\n"


def _json_group(resource: Resource, scopes: Scopes) -> dict[str, Any]:
    group: dict[str, Any] = {
        "resource": {"attributes": pairs_of(_json_attribute, resource.attributes)},
        "scopeSpans": [_json_scope(scope, spans) for scope, spans in scopes.items()],
    }
    if resource.schema_url:
        group["schemaUrl"] = _clean(resource.schema_url)
    return group


def _json_scope(scope: InstrumentationScope, spans: list[OpenSpan]) -> dict[str, Any]:
    head: dict[str, Any] = {"name": _clean(scope.name)}
    encoded: dict[str, Any] = {"scope": head, "spans": each(_json_span, spans)}
    if scope.version:
        head["version"] = _clean(scope.version)
    if scope.attributes:
        head["attributes"] = pairs_of(_json_attribute, scope.attributes)
    if scope.schema_url:
        encoded["schemaUrl"] = _clean(scope.schema_url)
    return encoded


def _json_span(span: OpenSpan) -> dict[str, Any]:
    parent, status = span.parent, span.status
    encoded: dict[str, Any] = {
        "traceId": f"{span.trace_id:032x}",
        "spanId": f"{span.span_id:016x}",
        "flags": flags_of(parent),
        "name": _clean(span.name),
        "kind": KINDS[id(span.kind)],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": [*_json_attributes(span.shared), *_json_attributes(span.attributes)],
        "status": {} if status.status_code is StatusCode.UNSET else _json_status(status),
    }
    if parent is not None:
        encoded["parentSpanId"] = f"{parent[1]:016x}"
    if span.state is not DEFAULT_TRACE_STATE:
        encoded["traceState"] = _clean(state_text(span.state))
    if span.events:
        encoded["events"] = [_json_event(event) for event in span.events]
    if span.links:
        encoded["links"] = [_json_link(link) for link in span.links]
    if span.dropped is not NOTHING_DROPPED:
        names = ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
        encoded.update(zip(names, span.dropped, strict=True))
    return encoded


def _json_attributes(attributes: Mapping[str, Any]) -> list[msgspec.Raw]:
    pairs: list[msgspec.Raw] = []
    for key, value in attributes.items():
        if type(value) is str and len(value) <= CACHED_LENGTH:
            pairs.append(_json_text_attribute(key, value))
        elif type(value) is int:
            pairs += _json_int_attribute(key, value)
        else:
            pairs += pairs_of(_json_attribute, {key: value})
    return pairs


def _json_status(status: Status) -> dict[str, Any]:
    encoded: dict[str, Any] = {"code": status.status_code.value}
    if status.description:
        encoded["message"] = _clean(status.description)
    return encoded


def _json_event(event: Event) -> dict[str, Any]:
    return {
        "timeUnixNano": str(event.timestamp or 0),
        "name": _clean(event.name),
        "attributes": pairs_of(_json_attribute, event.attributes),
        "droppedAttributesCount": event.dropped_attributes,
    }


def _json_link(link: Link) -> dict[str, Any]:
    return {
        "traceId": f"{link.context.trace_id:032x}",
        "spanId": f"{link.context.span_id:016x}",
        "traceState": _clean(state_text(link.context.trace_state)),
        "attributes": pairs_of(_json_attribute, link.attributes),
        "droppedAttributesCount": link.dropped_attributes,
        "flags": flags_of(link.context),
    }


def _clean(text: str) -> str:
    """Return exactly a str, without lone surrogates: JSON can hold them, UTF-8 cannot."""
    if type(text) is str and text.isascii():
        return text
    return str.__str__(text).encode("utf-8", "replace").decode()


@lru_cache(maxsize=CACHED_ATTRIBUTES)
def _json_text_attribute(key: str, value: str) -> msgspec.Raw:
    return _json_attribute(key, value)


@lru_cache(maxsize=CACHED_ATTRIBUTES)
def _json_int_attribute(key: str, value: int) -> list[msgspec.Raw]:
    return pairs_of(_json_attribute, {key: value})


def _json_attribute(key: str, value: Any) -> msgspec.Raw:
    return msgspec.Raw(_to_json({"key": _clean(key), "value": _json_value(value)}))


def _json_value(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case str():
            return {"stringValue": _clean(value)}
        case int():
            return {"intValue": str(int64(value))}
        case float():
            # JSON has no such numbers; protobuf's JSON mapping spells them NaN and Infinity.
            finite = math.isfinite(value)
            return {"doubleValue": float(value) if finite else _SPELLED[str(float(value))]}
        case bytes():
            return {"bytesValue": bytes(value)}
        case Sequence():
            return {"arrayValue": {"values": [_json_value(v) for v in value]}}
        case Mapping():
            pairs = [{"key": _clean(str(k)), "value": _json_value(v)} for k, v in value.items()]
            return {"kvlistValue": {"values": pairs}}
    raise TypeError(f"a value of type {type(value).__name__}")


_SPELLED: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
