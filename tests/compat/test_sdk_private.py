"""A test per private name of OpenTelemetry's: it fails where a version has no such name any more."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    InMemoryMetricReader,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import SumAggregation
from opentelemetry.sdk.trace.export import SpanExportResult

import debbie_otel
from debbie_otel.compat import sdk_private
from debbie_otel.compat.sdk_private import (
    BatchLogRecordProcessor,
    CollectingReader,
    LoggerProvider,
    LogRecord,
    LogRecordExporter,
)

PACKAGE = Path(debbie_otel.__file__).parent


class Keeping(CollectingReader):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[MetricsData] = []

    def received(self, data: MetricsData) -> None:
        self.kept.append(data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        pass


def test_a_reader_gets_what_it_collects_by_receive_metrics() -> None:
    reader = Keeping()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("c").add(1)
    reader.collect()
    assert len(reader.kept) == 1, "MetricReader.collect does not call _receive_metrics"
    provider.shutdown()


def test_a_reader_knows_its_provider_by_collect() -> None:
    reader = Keeping()
    assert hasattr(reader, "_collect"), "MetricReader has no _collect"
    assert not reader.is_attached
    provider = MeterProvider([reader], shutdown_on_exit=False)
    assert reader.is_attached, "MetricReader._collect is not set by the provider"
    provider.shutdown()


def test_a_provider_is_switched_on_by_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert MeterProvider(shutdown_on_exit=False)._disabled is True, "no MeterProvider._disabled"
    reader = InMemoryMetricReader()
    provider = sdk_private.internal_meter_provider(reader)
    provider.get_meter("m").create_counter("c").add(1)
    assert reader.get_metrics_data() is not None, "MeterProvider._disabled has no effect"
    provider.shutdown()


def test_gauges_have_temporality_by_their_class() -> None:
    gauge = MeterProvider(shutdown_on_exit=False).get_meter("m").create_gauge("g")
    assert isinstance(gauge, sdk_private.Gauge), "opentelemetry.sdk.metrics._Gauge is another class"


def test_what_an_exporter_prefers() -> None:
    exporter = ConsoleMetricExporter(
        preferred_temporality={Counter: AggregationTemporality.DELTA},
        preferred_aggregation={Counter: SumAggregation()},
    )
    temporalities = sdk_private.temporalities(exporter)
    assert temporalities == {Counter: AggregationTemporality.DELTA}, "no _preferred_temporality"
    assert list(sdk_private.aggregations(exporter) or ()) == [Counter], "no _preferred_aggregation"


def test_callbacks_of_an_instrument_can_be_added_and_removed() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument = provider.get_meter("m").create_observable_counter("c")
    callbacks = sdk_private.callbacks_of(instrument)
    assert callbacks == [], "an observable instrument has no list _callbacks"
    callbacks.append(lambda _: [Observation(1)])
    assert reader.get_metrics_data() is not None, "_callbacks are not called"
    provider.shutdown()


@pytest.mark.parametrize(
    "make",
    [
        trace.ProxyTracerProvider,
        lambda: metrics._internal._ProxyMeterProvider(),
        lambda: __import__("opentelemetry._logs").  _logs._internal.ProxyLoggerProvider(),
    ],
)  # fmt: skip
def test_the_stand_ins_of_the_api_are_called_proxies(make: Any) -> None:
    assert sdk_private.is_stand_in(make())
    assert not sdk_private.is_stand_in(MeterProvider(shutdown_on_exit=False))


def test_a_grpc_exporter_sends_bytes() -> None:
    sent: list[tuple[bytes, dict[str, Any]]] = []

    class Client:
        def Export(self, request: bytes, **options: Any) -> None:  # noqa: N802
            sent.append((request, options))

    exporter = OverGrpc(endpoint="http://127.0.0.1:1", headers={"a": "b"})
    clients: list[Any] = []

    def client(channel: Any) -> Client:
        clients.append(channel)
        return Client()

    assert sdk_private.send_encoded(exporter, lambda _: b"bytes", client), (
        "the gRPC exporter has no _stub, _client or _channel"
    )
    assert clients == [exporter._channel]
    assert exporter.export([]) is SpanExportResult.SUCCESS
    assert [request for request, _ in sent] == [b"bytes"], "_translate_data or _client is not used"
    assert dict(sent[0][1]["metadata"]) == {"a": "b"}
    assert sent[0][1]["timeout"] > 0
    exporter._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
    assert len(clients) == 2, "_stub is not called for a new channel"
    exporter.shutdown()


def test_an_http_exporter_has_a_client_that_exports_bytes() -> None:
    exporter = OverHttp(endpoint="http://127.0.0.1:1/v1/traces", timeout=0.1)
    send = sdk_private.http_export(exporter)
    assert send is not None, "the HTTP exporter has no _client.export"
    result = send(b"")
    assert result.success is False
    assert {"status_code", "reason", "error"} <= set(dir(result)), "its result tells no reason"
    exporter.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("grpc", [True, False])
def test_log_exporters_are_where_they_were(grpc: bool) -> None:
    assert issubclass(sdk_private.log_exporter(grpc=grpc), LogRecordExporter)


def test_waiting_log_records_can_be_taken() -> None:
    class Never(LogRecordExporter):
        def export(self, batch: Any) -> Any:
            raise AssertionError("not before the delay is over")

        def shutdown(self) -> None:
            pass

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

    provider = LoggerProvider(shutdown_on_exit=False)
    processor = BatchLogRecordProcessor(Never(), schedule_delay_millis=3_600_000)
    provider.add_log_record_processor(processor)
    provider.get_logger("l").emit(LogRecord(body="text", timestamp=1))
    records = sdk_private.waiting_records(processor)
    assert [record.log_record.body for record in records] == ["text"], (
        "BatchLogRecordProcessor has no _batch_processor._queue"
    )
    assert sdk_private.waiting_records(processor) == []
    encoded = sdk_private.encode_logs(records)
    (entry,) = encoded["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert entry["body"] == {"stringValue": "text"}
    provider.shutdown()


# -- nothing else uses any ---------------------------------------------------------------------

MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "sdk_private.py"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_imports_or_reads_a_private_name(module: Path) -> None:
    source = module.read_text()
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [n for n in names if n.startswith("opentelemetry") and "._" in n]
    assert found == []
    if "opentelemetry" in source:
        assert re.findall(r"noqa: .*SLF001", source) == []
        assert re.findall(r"getattr\([^)]*[\"']_[a-z]", source) == []
