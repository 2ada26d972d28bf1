from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.trace.export import SpanExportResult

from debbie_otel.telemetry.export.files import (
    FileMetricExporter,
    FileSpanExporter,
    log_line,
    metric_line,
)
from tests.telemetry.export.made_spans import make_span, names, spooled_names


def test_files_are_private_lines(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    exporter = FileSpanExporter(directory)
    for number in range(2):
        assert exporter.export([make_span(number)]) is SpanExportResult.SUCCESS
        assert spooled_names(directory) == names(number + 1)  # on disk at once
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "traces.jsonl").stat().st_mode) == 0o600
    assert (directory / "traces.jsonl").read_bytes().count(b"\n") == 2


def test_metric_lines_are_otlp_json(tmp_path: Path, metrics: MetricsData) -> None:
    exporter = FileMetricExporter(tmp_path)
    assert exporter.export(metrics) is MetricExportResult.SUCCESS
    line = (tmp_path / "metrics.jsonl").read_text()
    document = json.loads(line)
    found = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    exemplar = found[0]["sum"]["dataPoints"][0]["exemplars"][0]
    assert (exemplar["traceId"], exemplar["spanId"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert found[0]["sum"]["aggregationTemporality"] == 2
    assert found[0]["sum"]["dataPoints"][0]["asInt"] == "3"
    del found[0]["sum"]["dataPoints"][0]["exemplars"]
    expected = encode_metrics(metrics)
    del expected.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0].exemplars[:]
    assert json_format.ParseDict(document, ExportMetricsServiceRequest()) == expected


def test_files_never_raise(tmp_path: Path, metrics: MetricsData) -> None:
    (tmp_path / "file").write_text("in the way")
    spans = FileSpanExporter(tmp_path / "file")
    assert spans.export([make_span(0)]) is SpanExportResult.FAILURE
    assert spans.problem is not None
    assert "File exists" in spans.problem.text
    assert FileMetricExporter(tmp_path / "file").export(metrics) is MetricExportResult.FAILURE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").symlink_to("/dev/full")
    exporter = FileSpanExporter(tmp_path)
    assert exporter.export([make_span(0)]) is SpanExportResult.FAILURE
    assert exporter.problem is not None
    assert os.strerror(28) in exporter.problem.text


def test_the_member_is_there_where_nothing_is() -> None:
    assert metric_line(MetricsData([])) == b'{"resourceMetrics":[]}\n'
    assert log_line([]) == b'{"resourceLogs":[]}\n'


def test_lone_surrogates_cost_nothing() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("calls").add(1, {"method": "a\ud800"})
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    line = metric_line(data)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert json.loads(line)["resourceMetrics"]
