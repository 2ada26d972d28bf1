"""Our encoders against the SDK's own, and against protobuf's JSON mapping."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as sdk_encode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from debbie_otel.telemetry.attributes import SharedAttributes
from debbie_otel.telemetry.export.otlp_json import span_lines
from debbie_otel.telemetry.export.otlp_protobuf import encode_spans
from debbie_otel.telemetry.spans import OpenSpan, Origin
from debbie_otel.wire.direction import MessageDirection
from tests.telemetry.export.made_spans import make_span
from tests.telemetry.export.otlp_lines import parse_line

texts = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
plain = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=12),
    st.none(),
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=6,
)
attributes = st.dictionaries(keys, values, max_size=6)
states = st.builds(
    lambda entries: TraceState(entries.items()),
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True),
        st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True),
        max_size=3,
    ),
)
contexts = st.builds(
    SpanContext,
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    states,
)
times = st.integers(0, (1 << 63) - 1)
events = st.builds(Event, keys, attributes, times)
links = st.builds(Link, contexts, attributes)
resources = st.builds(
    Resource, st.dictionaries(keys, texts, max_size=3), st.sampled_from(["", "https://x/1"])
)
scopes = st.builds(
    InstrumentationScope,
    keys,
    st.one_of(st.none(), texts),
    st.one_of(st.none(), texts),
    st.one_of(st.none(), st.dictionaries(keys, texts, max_size=2)),
)
statuses = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(lambda text: Status(StatusCode.ERROR, text), st.one_of(st.none(), texts)),
)


def _spans(
    resource: Resource, scope: InstrumentationScope, shared: dict[str, Any]
) -> st.SearchStrategy[OpenSpan]:
    return st.builds(
        OpenSpan,
        origin=st.just(Origin(resource, scope)),
        name=texts,
        kind=st.sampled_from(SpanKind),
        start_ns=times,
        trace_id=st.integers(1, (1 << 128) - 1),
        span_id=st.integers(1, (1 << 64) - 1),
        parent=st.one_of(st.none(), contexts),
        shared=st.just(SharedAttributes(shared)),
        attributes=attributes.map(lambda own: {k: v for k, v in own.items() if k not in shared}),
        links=st.lists(links, max_size=2),
        state=states,
        events=st.lists(events, max_size=2),
        end_ns=times,
        status=statuses,
    )


@st.composite
def batches(draw: st.DrawFn) -> list[OpenSpan]:
    sources = draw(st.lists(st.tuples(resources, scopes, attributes), min_size=1, max_size=3))
    choose = st.sampled_from(sources).flatmap(lambda source: _spans(*source))
    return draw(st.lists(choose, max_size=4))


def agrees_with_sdk(request: ExportTraceServiceRequest, spans: list[ReadableSpan]) -> None:
    """Compare with what the SDK encodes, which leaves out the trace state of links."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                for link in span.links:
                    link.ClearField("trace_state")
    assert request == sdk_encode(spans)


@settings(max_examples=200, deadline=None)
@given(batches())
def test_our_encodings_say_what_the_sdks_would(spans: list[OpenSpan]) -> None:
    same = [span.readable() for span in spans]
    agrees_with_sdk(ExportTraceServiceRequest.FromString(encode_spans(spans)), same)
    agrees_with_sdk(parse_line(span_lines(spans)), same)


CONTEXT = SpanContext(0x1234, 0x56, is_remote=False, trace_flags=TraceFlags(1))


def encoded(span: OpenSpan) -> Any:
    """Decode both formats of one span, and return it once they agree."""
    request = ExportTraceServiceRequest.FromString(encode_spans([span]))
    assert parse_line(span_lines([span])) == request
    return request.resource_spans[0].scope_spans[0].spans[0]


def test_values_that_are_equal_in_python_stay_of_their_type() -> None:
    for value, member in ((1, "int_value"), (True, "bool_value"), (1.0, "double_value")):
        span = encoded(make_span(attributes={"a": value, "b": "1"}))
        assert span.attributes[0].value.WhichOneof("value") == member
    for number in (0.0, -0.0):
        value = encoded(make_span(attributes={"a": number})).attributes[0].value.double_value
        assert math.copysign(1, value) == math.copysign(1, number)


def test_numbers_that_json_has_not() -> None:
    span = encoded(make_span(attributes={"a": math.inf, "b": -math.inf}))
    assert [a.value.double_value for a in span.attributes] == [math.inf, -math.inf]
    request = parse_line(span_lines([make_span(attributes={"a": math.nan})]))
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value
    assert math.isnan(value.double_value)


def test_text_of_an_enum_and_lone_surrogates() -> None:
    span = encoded(
        make_span(
            name="a\ud800", attributes={"dir": MessageDirection.CLIENT_TO_SERVER, "s": "\udfff"}
        )
    )
    assert span.name == "a?"
    assert [a.value.string_value for a in span.attributes] == ["client->server", "?"]


def test_an_attribute_that_cannot_be_encoded_costs_only_itself() -> None:
    span = encoded(make_span(attributes={"big": 1 << 64, "odd": object(), "good": 1}))
    assert [a.key for a in span.attributes] == ["good"]


def test_a_span_that_cannot_be_encoded_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spans = [make_span(name="before"), make_span(start_ns=-1), make_span(name="after")]
    request = ExportTraceServiceRequest.FromString(encode_spans(spans))
    assert [s.name for s in request.resource_spans[0].scope_spans[0].spans] == ["before", "after"]
    assert "left out" in caplog.text


def test_dropped_counts() -> None:
    got = encoded(make_span(dropped=(2, 3, 1)))
    counts = got.dropped_attributes_count, got.dropped_events_count, got.dropped_links_count
    assert counts == (2, 3, 1)


def test_trace_state_of_links() -> None:
    context = SpanContext(1, 2, is_remote=True, trace_state=TraceState([("a", "1"), ("b", "2")]))
    link = encoded(make_span(links=[Link(context)])).links[0]
    assert link.trace_state == "a=1,b=2"
    assert link.flags == 0x300


def test_equal_resources_are_one_group() -> None:
    scope = InstrumentationScope("ours")
    spans = [make_span(origin=Origin(Resource({"a": "1"}), scope)) for _ in range(3)]
    same = [span.readable() for span in spans]
    agrees_with_sdk(ExportTraceServiceRequest.FromString(encode_spans(spans)), same)
    assert len(parse_line(span_lines(spans)).resource_spans) == 1
