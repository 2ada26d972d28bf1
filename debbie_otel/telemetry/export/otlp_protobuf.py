"""Spans to OTLP protobuf bytes.

The SDK's encoder builds a Python object per protobuf message, which costs more than everything
else that is done to a span. Here the bytes are written directly, and attributes that repeat
(methods, session ids, dialects) are encoded once and remembered.

Sources: opentelemetry-proto, `trace/v1/trace.proto` and `common/v1/common.proto`; protobuf's
encoding specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import DEFAULT_TRACE_STATE, Link, SpanContext, Status

from debbie_otel.telemetry.export.otlp import (
    CACHED_ATTRIBUTES,
    HAS_IS_REMOTE,
    IS_REMOTE,
    KINDS,
    Scopes,
    each,
    flags_of,
    grouped,
    int64,
    pairs_of,
    state_text,
)
from debbie_otel.telemetry.spans import NOTHING_DROPPED, UNSET, OpenSpan


def _long_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_VARINTS: Final = tuple(_long_varint(number) for number in range(4096))

# Tag and value of several fields in one go: trace_id = 1 and span_id = 2 (and
# parent_span_id = 4); start_time_unix_nano = 7 and end_time_unix_nano = 8.
_IDS: Final = Struct(">HQQHQ")
_IDS_AND_PARENT: Final = Struct(">HQQHQHQ")
_TIMES: Final = Struct("<BQBQ")
_FIXED64: Final = Struct("<BQ")
_DOUBLE: Final = Struct("<Bd")
_LOW: Final = (1 << 64) - 1
_NO_STATUS: Final = b"\x7a\x00"

_LOCAL_FLAGS: Final = b"\x85\x01" + HAS_IS_REMOTE.to_bytes(4, "little")
_REMOTE_FLAGS: Final = b"\x85\x01" + (HAS_IS_REMOTE | IS_REMOTE).to_bytes(4, "little")


def encode_spans(spans: Sequence[OpenSpan]) -> bytes:
    """Encode spans as an `ExportTraceServiceRequest`; never raises for what is in a span."""
    return b"".join(
        _field(b"\x0a", _resource_spans(resource, scopes)) for resource, scopes in grouped(spans)
    )


def _varint(number: int) -> bytes:
    return _VARINTS[number] if number < 4096 else _long_varint(number)


def _field(tag: bytes, body: bytes) -> bytes:
    return b"%b%b%b" % (tag, _varint(len(body)), body)


def _text(tag: bytes, text: str | None) -> bytes:
    return _field(tag, text.encode("utf-8", "replace")) if text else b""


def _count(tag: bytes, number: int) -> bytes:
    return tag + _varint(number) if number else b""


def _resource_spans(resource: Resource, scopes: Scopes) -> bytes:
    parts = [_field(b"\x0a", _attributes(b"\x0a", resource.attributes))]
    parts += [_field(b"\x12", _scope_spans(scope, spans)) for scope, spans in scopes.items()]
    parts.append(_text(b"\x1a", resource.schema_url))
    return b"".join(parts)


def _scope_spans(scope: InstrumentationScope, spans: list[OpenSpan]) -> bytes:
    name, version = _text(b"\x0a", scope.name), _text(b"\x12", scope.version)
    head = name + version + _attributes(b"\x1a", scope.attributes)
    schema_url = _text(b"\x1a", scope.schema_url)
    return b"".join((_field(b"\x0a", head), *each(_span, spans), schema_url))


def _span(span: OpenSpan) -> bytes:
    """Encode a span, with the tag and length that `ScopeSpans.spans` wants."""
    parent, shared = span.parent, span.shared
    if shared.encoded is None:
        shared.encoded = b"".join(_span_attributes(shared))
    parts = [
        _ids(span.trace_id, span.span_id, parent),
        _name_and_kind(span.name, KINDS[id(span.kind)]),
        _TIMES.pack(0x39, span.start_ns, 0x41, span.end_ns),
        shared.encoded,
        *_span_attributes(span.attributes),
    ]
    if span.state is not DEFAULT_TRACE_STATE:
        parts.append(_text(b"\x1a", state_text(span.state)))
    if span.events:
        parts += [_field(b"\x5a", _event(event)) for event in span.events]
    if span.links:
        parts += [_field(b"\x6a", _link(link)) for link in span.links]
    if span.dropped is not NOTHING_DROPPED:
        parts += map(_count, (b"\x50", b"\x60", b"\x70"), span.dropped)
    parts.append(_NO_STATUS if span.status is UNSET else _status(span.status))
    parts.append(_REMOTE_FLAGS if parent is not None and parent[2] else _LOCAL_FLAGS)
    body = b"".join(parts)
    return b"\x12" + _varint(len(body)) + body


def _ids(trace_id: int, span_id: int, parent: SpanContext | None) -> bytes:
    high, low = trace_id >> 64, trace_id & _LOW
    if parent is None:
        return _IDS.pack(0x0A10, high, low, 0x1208, span_id)
    return _IDS_AND_PARENT.pack(0x0A10, high, low, 0x1208, span_id, 0x2208, parent[1])


def _span_attributes(attributes: Mapping[str, Any]) -> list[bytes]:
    parts: list[bytes] = []
    for key, value in attributes.items():
        if type(value) is str:
            parts += _text_attribute(key, value)
        elif type(value) is int:
            parts.append(_int_attribute(key, value))
        else:
            parts += pairs_of(_attribute, {key: value})
    return parts


@lru_cache(maxsize=1024)
def _name_and_kind(name: str, kind: int) -> bytes:
    return _text(b"\x2a", name) + b"\x30" + _varint(kind)


def _status(status: Status) -> bytes:
    body = _text(b"\x12", status.description) + b"\x18" + _varint(status.status_code.value)
    return _field(b"\x7a", body)


def _event(event: Event) -> bytes:
    time, name = _FIXED64.pack(0x09, event.timestamp or 0), _text(b"\x12", event.name)
    attributes = _attributes(b"\x1a", event.attributes)
    return time + name + attributes + _count(b"\x20", event.dropped_attributes)


def _link(link: Link) -> bytes:
    context = link.context
    ids = _IDS.pack(
        0x0A10, context.trace_id >> 64, context.trace_id & _LOW, 0x1208, context.span_id
    )
    state = _text(b"\x1a", state_text(context.trace_state))
    attributes = _attributes(b"\x22", link.attributes)
    dropped = _count(b"\x28", link.dropped_attributes)
    return ids + state + attributes + dropped + b"\x35" + flags_of(context).to_bytes(4, "little")


def _attributes(tag: bytes, attributes: Mapping[str, Any] | None) -> bytes:
    """Encode attributes of anything but a span, where their field has another number."""
    return b"".join(tag + encoded[1:] for encoded in pairs_of(_attribute, attributes))


def _attribute(key: str, value: Any) -> bytes:
    """Encode a KeyValue, with the tag and length that `Span.attributes` wants."""
    return _field(b"\x4a", _key_value(key, value))


def _text_attribute(key: str, value: str) -> tuple[bytes, bytes]:
    # The same as _attribute, in two parts, for the many ids that do not repeat. What does repeat
    # is in the shared attributes, which are encoded once.
    text = value.encode("utf-8", "replace")
    return _text_head(key, len(text)), text


@lru_cache(maxsize=CACHED_ATTRIBUTES)
def _text_head(key: str, size: int) -> bytes:
    """Encode all that comes before the text of an attribute."""
    tag = b"\x0a" + _varint(size)
    name = _text(b"\x0a", key)
    value = b"\x12" + _varint(len(tag) + size) + tag
    return b"\x4a" + _varint(len(name) + len(value) + size) + name + value


@lru_cache(maxsize=CACHED_ATTRIBUTES)
def _int_attribute(key: str, value: int) -> bytes:
    return b"".join(pairs_of(_attribute, {key: value}))


def _key_value(key: str, value: Any) -> bytes:
    return _text(b"\x0a", key) + _field(b"\x12", _any_value(value))


def _any_value(value: Any) -> bytes:
    match value:
        case None:
            return b""
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case str():
            return _field(b"\x0a", value.encode("utf-8", "replace"))
        case int():
            return b"\x18" + _long_varint(int64(value) & _LOW)
        case float():
            return _DOUBLE.pack(0x21, value)
        case bytes():
            return _field(b"\x3a", value)
        case Sequence():
            return _field(b"\x2a", b"".join(_field(b"\x0a", _any_value(v)) for v in value))
        case Mapping():
            pairs = (_field(b"\x0a", _key_value(str(k), v)) for k, v in value.items())
            return _field(b"\x32", b"".join(pairs))
    raise TypeError(f"a value of type {type(value).__name__}")
