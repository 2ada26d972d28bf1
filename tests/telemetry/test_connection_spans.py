"""ConnectionSpans: what the spans of a connection share."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from debbie_otel.session.model import Call, SessionInfo, TraceContext
from debbie_otel.telemetry.connection_spans import (
    ConnectionFacts,
    ConnectionSpans,
    RecorderOptions,
    span_context,
)
from debbie_otel.telemetry.spans import OpenSpan, SpanWriter
from debbie_otel.telemetry.traces import Traces
from debbie_otel.wire.direction import MessageDirection
from tests.play import Play
from tests.telemetry.spantree import CountingIds, Recorded


def stage(ended: list[OpenSpan], **facts: Any) -> ConnectionSpans:
    writer = SpanWriter(
        ended.append,
        Resource({}),
        InstrumentationScope("debbie_otel"),
        ALWAYS_ON,
        CountingIds(),
    )
    known = ConnectionFacts({"constant": "c"}, **facts)
    return ConnectionSpans(writer, Traces(), RecorderOptions(), known)


def session(name: str = "s") -> SessionInfo:
    return SessionInfo(id=name, dialect="generic", agent="agent")


def request(method: str, *, versioned: bool = True, **facts: Any) -> Call:
    return Call(
        session=facts.pop("session", session()),
        direction=MessageDirection.CLIENT_TO_SERVER,
        method=method,
        id=1,
        started_ns=1,
        request_bytes=2,
        versioned=versioned,
        **facts,
    )


def call(spans: ConnectionSpans, method: str, *, versioned: bool = True) -> OpenSpan:
    return spans.open_call(request(method, versioned=versioned), {})


def test_calls_of_a_method_share_a_layer_and_others_do_not() -> None:
    spans = stage([])
    first, second = call(spans, "a"), call(spans, "a")
    assert first.shared is second.shared
    assert dict(first.shared) == {
        "constant": "c",
        "session.id": "s",
        "rpc.method": "a",
        "jsonrpc.protocol.version": "2.0",
    }
    assert dict(call(spans, "a", versioned=False).shared) == {
        "constant": "c",
        "session.id": "s",
        "rpc.method": "a",
    }


def test_what_is_shared_changes_with_the_session() -> None:
    ended: list[OpenSpan] = []
    spans = stage(ended)
    for name in ("s", "t", "s"):
        spans.end(spans.start(session(name), "x", SpanKind.INTERNAL, 1, None, {}), 1)
    assert [span.shared["session.id"] for span in ended] == ["s", "t", "s"]
    call(spans, "a")
    named = spans.open_call(request("a", session=session("t")), {})
    assert named.shared["session.id"] == "t"


def test_layers_of_many_methods_are_bounded() -> None:
    spans = stage([])
    for number in range(1000):
        assert call(spans, f"m{number}").shared["rpc.method"] == f"m{number}"
    assert len(spans._call_layers) <= 256


def test_names_are_cut() -> None:
    assert len(call(stage([]), "m" * 500).name) == 128


def test_a_call_is_the_parent_of_what_is_part_of_it_whichever_span_begins_first() -> None:
    spans = stage([])
    outer = request("outer")
    inner = spans.open_call(request("inner", part_of=outer), {})
    assert inner.parent is spans.call_context(outer)
    later = spans.open_call(request("later", part_of=outer), {})
    assert later.parent is inner.parent


def test_a_trace_that_was_sent_comes_before_the_call_that_a_request_is_part_of() -> None:
    sent = TraceContext("00-000000000000000000000000000000cc-00000000000000dd-01")
    span = stage([]).open_call(request("inner", part_of=request("outer"), trace=sent), {})
    assert span.parent is not None
    assert span.parent.span_id == 0xDD


def test_in_the_clients_process_the_kinds_are_the_other_way_about() -> None:
    sent = MessageDirection.CLIENT_TO_SERVER
    assert stage([]).kinds[sent] is SpanKind.SERVER
    assert stage([], side="client").kinds[sent] is SpanKind.CLIENT


def test_the_parent_is_what_the_caller_sent_else_the_handshakes() -> None:
    outer = TraceContext("00-000000000000000000000000000000aa-00000000000000bb-01")
    sent = TraceContext("00-000000000000000000000000000000cc-00000000000000dd-01")
    spans = stage([], trace=outer)
    by_default, by_word = spans.parent(None, None), spans.parent(sent, None)
    assert by_default is not None
    assert by_word is not None
    assert (by_default.span_id, by_word.span_id) == (0xBB, 0xDD)
    assert spans.parent(TraceContext("nonsense"), None) == by_default


def test_the_callers_trace_goes_on() -> None:
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    recorded = Recorded(Play("mcp"), sampler=DEFAULT_ON, mcp=True)
    for flags in ("01", "03"):
        recorded.play(
            f'>> {{"id":1,"method":"ping","params":{{"_meta":{{"traceparent":"00-{trace_id}-{parent_id}-{flags}"}}}}}}\n'
            '<< {"id":1,"result":{}}'
        )
    calls = [span for span in recorded.spans if span.name == "ping"]
    assert len(calls) == 2
    for call in calls:
        assert call.parent is not None
        assert format(call.context.trace_id, "032x") == trace_id
        assert format(call.parent.span_id, "016x") == parent_id
    recorded.play(
        f'>> {{"id":2,"method":"unsampled","params":{{"_meta":{{"traceparent":"00-{trace_id}-{parent_id}-00"}}}}}}\n'
        '<< {"id":2,"result":{}}'
    )
    assert not [span for span in recorded.spans if span.name == "unsampled"]


def test_a_trace_context_that_is_none_is_left_alone() -> None:
    for text in ("", "00-0-0-01", "garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        assert span_context(TraceContext(text)) is None
