"""The SDK's limits, where variables set them: on our spans as on those of its own tracer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as sdk_encode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.aggregate import Histograms
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.export.limits import LIMITS, exemplars_wanted, limited, span_limits
from debbie_otel.telemetry.export.otlp_protobuf import encode_spans
from debbie_otel.telemetry.export.pipeline import TelemetrySettings, our_scope
from debbie_otel.telemetry.spans import OpenSpan, Origin
from tests.integration.command import debbie
from tests.telemetry.pipelines import begun

SHARED: Attributes = {"session.id": "a name that is long", "server.port": 80}
OWN: Attributes = {
    "rpc.method": "sendUserMessage",
    "flag": True,
    "words": ("one that is long", "two"),
}
EVENTS: list[tuple[str, Attributes]] = [
    ("first", {"a": "text that is long", "b": 2}),
    ("second", {}),
    ("third", {"c": "x"}),
]
EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"


@pytest.fixture(autouse=True)
def _no_limits_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LIMITS, EXEMPLARS):
        monkeypatch.delenv(name, raising=False)


def links() -> list[Link]:
    """Fresh ones: the tracer cuts those that it is given."""
    context = SpanContext(5, 6, False, TraceFlags(1))
    return [Link(context, {"debbie.link": "previous_turn", "n": n}) for n in (1, 2)]


def ours() -> OpenSpan:
    span = OpenSpan(
        *("turn", SpanKind.SERVER, 10, None, SharedAttributes(SHARED), dict(OWN), links()),
        origin=Origin(Resource.get_empty(), our_scope()),
        trace_id=1,
        span_id=2,
        end_ns=20,
    )
    for name, attributes in EVENTS:
        span.add_event(name, 15, attributes)
    return span


def the_sdks() -> ExportTraceServiceRequest:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    scope = our_scope()
    tracer = provider.get_tracer(scope.name, scope.version, scope.schema_url)
    attributes = {**SHARED, **OWN}
    span = tracer.start_span("turn", None, SpanKind.SERVER, attributes, links(), 10)
    for name, given in EVENTS:
        span.add_event(name, given, 15)
    span.end(20)
    return sdk_encode(exporter.get_finished_spans())


@pytest.mark.parametrize("variable", LIMITS)
@pytest.mark.parametrize("limit", ["0", "1", "4"])
def test_a_span_is_cut_as_the_sdk_does(
    variable: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, limit)
    taken: list[OpenSpan] = []
    limited(taken.append, span_limits(os.environ))(ours())
    found = ExportTraceServiceRequest.FromString(encode_spans(taken))
    wanted = the_sdks()
    for request in (found, wanted):  # whose ids the tracer made
        span = request.resource_spans[0].scope_spans[0].spans[0]
        span.trace_id = span.span_id = b""
    assert found == wanted


def test_without_a_variable_nothing_is_between() -> None:
    taken: list[OpenSpan] = []
    sink = taken.append
    assert limited(sink, span_limits({"OTEL_SPAN_LINK_COUNT_LIMIT": " "})) is sink


@pytest.mark.parametrize(("chosen", "wanted"), [("always_off", 0), ("trace_based", 1), ("", 1)])
def test_exemplars(chosen: str, wanted: int) -> None:
    histograms = Histograms("calls", "s", "Calls.", lambda key: {"key": str(key)})
    histograms.record(("a",), 0.5, trace_id=1, span_id=2, time_ns=3)
    environ = {EXEMPLARS: chosen} if chosen else {}
    metric = histograms.collect(
        0, 1, AggregationTemporality.CUMULATIVE, exemplars=exemplars_wanted(environ)
    )
    assert [len(point.exemplars) for point in metric.data.data_points] == [wanted]


def test_the_pipeline_keeps_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4")
    monkeypatch.setenv(EXEMPLARS, "always_off")
    settings = TelemetrySettings(data_dir=tmp_path, local_collectors=(), tame_sdk_logs=True)
    pipeline = begun(settings)
    pipeline.meter("agent").create_counter("calls").add(1)
    histograms = Histograms("durations", "s", "Calls.", lambda _: {})
    histograms.record(("a",), 0.5, trace_id=1, span_id=2, time_ns=3)
    pipeline.add_histograms("agent", [histograms])
    pipeline.on_end(ours())
    pipeline.shutdown()
    traces = (tmp_path / "traces.jsonl").read_text()
    assert '"send"' in traces
    assert "sendU" not in traces
    metrics = (tmp_path / "metrics.jsonl").read_text()
    assert "durations" in metrics
    assert "exemplars" not in metrics


@pytest.mark.parametrize("variable", [LIMITS[2], EXEMPLARS])
def test_a_wrong_value_is_one_line(variable: str, tmp_path: Path) -> None:
    ended = debbie("demo", "--speed", "100", data_dir=tmp_path, **{variable: "many"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert variable in ended.stderr


def test_a_wrong_limit_is_told_to_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMITS[2], "many")
    with pytest.raises(ConfigurationError, match=f"{LIMITS[2]} must be"):
        span_limits(os.environ)
