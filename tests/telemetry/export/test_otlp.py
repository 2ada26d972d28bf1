"""Our encoders against the SDK's own, and against protobuf's JSON mapping."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as sdk_encode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
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
from debbie_otel.telemetry.spans import OpenSpan, Origin, readable
from debbie_otel.wire.direction import MessageDirection

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
scopes = st.one_of(
    st.none(),
    st.builds(
        InstrumentationScope,
        keys,
        st.one_of(st.none(), texts),
        st.one_of(st.none(), texts),
        st.one_of(st.none(), st.dictionaries(keys, texts, max_size=2)),
    ),
)
statuses = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(lambda text: Status(StatusCode.ERROR, text), st.one_of(st.none(), texts)),
)


def _spans(resource: Resource, scope: InstrumentationScope | None) -> st.SearchStrategy[Any]:
    return st.builds(
        ReadableSpan,
        name=texts,
        context=contexts,
        parent=st.one_of(st.none(), contexts),
        resource=st.just(resource),
        attributes=attributes,
        events=st.lists(events, max_size=2),
        links=st.lists(links, max_size=2),
        kind=st.sampled_from(SpanKind),
        status=statuses,
        start_time=times,
        end_time=st.one_of(st.none(), times),
        instrumentation_scope=st.just(scope),
    )


@st.composite
def batches(draw: st.DrawFn) -> list[ReadableSpan]:
    sources = draw(st.lists(st.tuples(resources, scopes), min_size=1, max_size=3))
    choose = st.sampled_from(sources).flatmap(lambda source: _spans(*source))
    return draw(st.lists(choose, max_size=4))


def _own_spans(
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
def own_batches(draw: st.DrawFn) -> list[OpenSpan]:
    named = scopes.filter(lambda scope: scope is not None)
    sources = draw(st.lists(st.tuples(resources, named, attributes), min_size=1, max_size=3))
    choose = st.sampled_from(sources).flatmap(lambda source: _own_spans(*source))
    return draw(st.lists(choose, max_size=4))


def agrees_with_sdk(request: ExportTraceServiceRequest, spans: list[ReadableSpan]) -> None:
    """Compare with what the SDK encodes, which leaves out the trace state of links."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                for link in span.links:
                    link.ClearField("trace_state")
    assert request == sdk_encode(spans)


def parse_line(line: bytes) -> ExportTraceServiceRequest:
    """Read a line of OTLP/JSON with protobuf's own mapping, which wants ids in base64."""

    def fix(value: Any) -> Any:
        if isinstance(value, list):
            return [fix(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64encode(bytes.fromhex(entry)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else fix(entry)
            for key, entry in value.items()
        }

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json_format.ParseDict(fix(json.loads(line)), ExportTraceServiceRequest())


@settings(max_examples=100, deadline=None)
@given(batches())
def test_protobuf_says_what_the_sdk_says(spans: list[ReadableSpan]) -> None:
    agrees_with_sdk(ExportTraceServiceRequest.FromString(encode_spans(spans)), spans)


@settings(max_examples=100, deadline=None)
@given(own_batches())
def test_our_own_spans_say_what_the_sdks_would(spans: list[OpenSpan]) -> None:
    same = [readable(span) for span in spans]
    agrees_with_sdk(ExportTraceServiceRequest.FromString(encode_spans(spans)), same)
    agrees_with_sdk(parse_line(span_lines(spans)), same)


@settings(max_examples=100, deadline=None)
@given(batches())
def test_json_says_what_the_sdk_says(spans: list[ReadableSpan]) -> None:
    agrees_with_sdk(parse_line(span_lines(spans)), spans)


CONTEXT = SpanContext(0x1234, 0x56, is_remote=False, trace_flags=TraceFlags(1))


def make(**changes: Any) -> ReadableSpan:
    fields: dict[str, Any] = {
        "name": "tools/call search",
        "context": CONTEXT,
        "resource": Resource({"service.name": "mcp-agent"}),
        "start_time": 1,
        "end_time": 2,
        "instrumentation_scope": InstrumentationScope("debbie_otel", "1", "https://schema"),
    }
    return ReadableSpan(**(fields | changes))


def encoded(span: ReadableSpan) -> Any:
    """Decode both formats of one span, and return it once they agree."""
    request = ExportTraceServiceRequest.FromString(encode_spans([span]))
    assert parse_line(span_lines([span])) == request
    return request.resource_spans[0].scope_spans[0].spans[0]


def test_values_that_are_equal_in_python_stay_of_their_type() -> None:
    for value, member in ((1, "int_value"), (True, "bool_value"), (1.0, "double_value")):
        span = encoded(make(attributes={"a": value, "b": "1"}))
        assert span.attributes[0].value.WhichOneof("value") == member
    for number in (0.0, -0.0):
        value = encoded(make(attributes={"a": number})).attributes[0].value.double_value
        assert math.copysign(1, value) == math.copysign(1, number)


def test_numbers_that_json_has_not() -> None:
    span = encoded(make(attributes={"a": math.inf, "b": -math.inf}))
    assert [a.value.double_value for a in span.attributes] == [math.inf, -math.inf]
    request = parse_line(span_lines([make(attributes={"a": math.nan})]))
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value
    assert math.isnan(value.double_value)


def test_text_of_an_enum_and_lone_surrogates() -> None:
    span = encoded(
        make(name="a\ud800", attributes={"dir": MessageDirection.CLIENT_TO_SERVER, "s": "\udfff"})
    )
    assert span.name == "a?"
    assert [a.value.string_value for a in span.attributes] == ["client->server", "?"]


def test_an_attribute_that_cannot_be_encoded_costs_only_itself() -> None:
    span = encoded(make(attributes={"big": 1 << 64, "odd": object(), "good": 1}))
    assert [a.key for a in span.attributes] == ["good"]


def test_a_span_that_cannot_be_encoded_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spans = [make(name="before"), make(context=None), make(name="after")]
    request = ExportTraceServiceRequest.FromString(encode_spans(spans))
    assert [s.name for s in request.resource_spans[0].scope_spans[0].spans] == ["before", "after"]
    assert "left out" in caplog.text


def test_dropped_counts_of_the_sdks_own_spans() -> None:
    exporter = InMemorySpanExporter()
    limits = SpanLimits(max_span_attributes=1, max_events=1, max_links=1, max_event_attributes=1)
    provider = TracerProvider(sampler=ALWAYS_ON, span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    link = Link(CONTEXT, {"a": 1})
    with provider.get_tracer("t").start_as_current_span("s", links=[link, link]) as span:
        span.set_attributes({"a": 1, "b": 2, "c": 3})
        for _ in range(4):
            span.add_event("e", {"a": 1, "b": 2})
    spans = list(exporter.get_finished_spans())
    provider.shutdown()
    got = encoded(spans[0])
    assert sdk_encode(spans).resource_spans[0].scope_spans[0].spans[0] == got
    counts = got.dropped_attributes_count, got.dropped_events_count, got.dropped_links_count
    assert counts == (2, 3, 1)
    assert got.events[0].dropped_attributes_count == 1


def test_trace_state_of_links() -> None:
    context = SpanContext(1, 2, is_remote=True, trace_state=TraceState([("a", "1"), ("b", "2")]))
    link = encoded(make(links=[Link(context)])).links[0]
    assert link.trace_state == "a=1,b=2"
    assert link.flags == 0x300


def test_equal_resources_are_one_group() -> None:
    spans = [make(resource=Resource({"a": "1"})) for _ in range(3)]
    agrees_with_sdk(ExportTraceServiceRequest.FromString(encode_spans(spans)), spans)
    assert len(parse_line(span_lines(spans)).resource_spans) == 1
