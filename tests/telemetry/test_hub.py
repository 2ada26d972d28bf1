"""A service per dialect."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from debbie_otel.session.dialect.registry import builtin_dialects
from debbie_otel.telemetry.aggregate import Histograms
from debbie_otel.telemetry.connection_spans import ConnectionFacts, RecorderOptions
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.instruments import OpenCalls
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.spans import OpenSpan, SpanSink, SpanWriter
from tests.play import Play
from tests.telemetry.spantree import SESSION, CountingIds

ACP, MCP = builtin_dialects()["acp"], builtin_dialects()["mcp"]


class Kept:
    """An outlet that keeps what it gets."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.spans: dict[str, list[OpenSpan]] = {}
        self.histograms: dict[str, list[str]] = {}

    def writer(self, service_name: str) -> SpanSink:
        kept = self.spans.setdefault(service_name, [])
        scope = InstrumentationScope("debbie_otel")
        return SpanWriter(kept.append, Resource.get_empty(), scope, ALWAYS_ON, CountingIds())

    def meter(self, service_name: str) -> Meter:
        return self.provider.get_meter(service_name)

    def add_histograms(self, service_name: str, histograms: Iterable[Histograms]) -> None:
        self.histograms[service_name] = [histogram.name for histogram in histograms]

    def emit_event(self, service_name: str, event: LogEvent) -> None:
        raise AssertionError("a hub emits none")

    def values(self, name: str) -> dict[str, list[tuple[float, dict[str, object]]]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            scope.scope.name: [(p.value, dict(p.attributes or {})) for p in metric.data.data_points]  # type: ignore[union-attr]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        }


def hub_on(outlet: Kept) -> TelemetryHub:
    open_calls = {"acp": OpenCalls(3, 1.5)}
    return TelemetryHub(
        outlet,
        RecorderOptions(),
        64,
        lambda dialect: open_calls.get(dialect, OpenCalls()),
        lambda: 1000,
    )


def test_a_service_is_made_once_when_it_is_needed() -> None:
    hub = hub_on(Kept())
    assert hub.named(None) is hub.named("acp") is None
    acp = hub.service(ACP)
    assert acp.name == "acp-agent"
    assert hub.service(ACP) is hub.named("acp") is hub.named(None) is acp
    assert hub.service(MCP).name == "mcp-agent"
    assert hub.named("codex") is None


def test_each_service_measures_its_own_and_the_first_what_belongs_to_none() -> None:
    outlet = Kept()
    hub = hub_on(outlet)
    for dialect in (ACP, MCP):
        hub.service(dialect)
    hub.count_failure("the session model")
    hub.count_failure("the session model")
    pending = outlet.values("debbie.calls.pending")
    assert pending == {"acp-agent": [(3, {})], "mcp-agent": [(0, {})]}
    assert outlet.values("debbie.inspection.errors") == {
        "acp-agent": [(2, {"error.type": "the session model"})]
    }
    assert outlet.values("debbie.agent.memory") == {"acp-agent": [(1000, {})]}
    assert "rpc.server.call.duration" in outlet.histograms["acp-agent"]
    assert "mcp.server.operation.duration" in outlet.histograms["mcp-agent"]
    assert "debbie.recovery.time" in outlet.histograms["mcp-agent"]
    outlet.provider.shutdown()


def test_recorders_share_the_traces_of_sessions() -> None:
    """A session that is started on one connection ends on another one."""
    outlet, stage = Kept(), Play()
    hub = hub_on(outlet)
    dialect = builtin_dialects()["aiwhisperer"]
    first, second = (hub.recorder(dialect, ConnectionFacts({"c": name})) for name in "ab")
    stage.play(SESSION)
    for event in stage.events:
        first.on_event(event)
    told = len(stage.events)
    stage.close()
    for event in stage.events[told:]:
        second.on_event(event)
    started, ended = (
        span for span in outlet.spans["aiwhisperer-agent"] if span.name.startswith("debbie.session")
    )
    assert [link.context for link in ended.links] == [started.context]
    assert hub.service(dialect).instruments.sessions_active == 0
