"""The pipeline as a whole, against real receivers."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision

from debbie_otel import semconv
from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.aggregate import Histograms
from debbie_otel.telemetry.export.metric_delivery import ServiceMetrics
from debbie_otel.telemetry.export.pipeline import Pipeline
from tests.telemetry.collector import (
    Certificate,
    free_port,
    grpc_collector,
    http_collector,
    make_certificate,
)
from tests.telemetry.export.made_spans import names, spooled_names
from tests.telemetry.pipelines import attributes_of, begun, clean, end_span, run, settings

__all__ = ["clean"]  # a fixture


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_traces_and_metrics_arrive(kind: str, tmp_path: Path) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        scheme = "grpc" if kind == "grpc" else "http"
        url = f"{scheme}://127.0.0.1:{collector.port}"
        chosen = settings(tmp_path, otlp=url, resource={"deployment.environment.name": "ci"})
        pipeline = begun(chosen)
        assert pipeline.destination.where == url
        end_span(pipeline, 0, "acp-agent")
        end_span(pipeline, 1, "mcp-agent")
        for service in ("acp-agent", "mcp-agent"):
            pipeline.meter(service).create_counter("debbie.messages").add(1)
        assert pipeline.flush(5)
        assert sorted(collector.received.span_names) == names(2)
        report = pipeline.shutdown()
        assert (report.delivered, report.spooled, report.dropped) == (2, 0, 0)
        assert report.seconds < 2
        received = collector.received
    by_service = {}
    for request in received.traces:
        for resource_spans in request.resource_spans:
            found = attributes_of(resource_spans.resource)
            by_service[found["service.name"]] = found
            scope = resource_spans.scope_spans[0]
            assert (scope.scope.name, scope.schema_url) == (semconv.SCOPE, semconv.SCHEMA_URL)
    assert sorted(by_service) == ["acp-agent", "mcp-agent"]
    one = by_service["acp-agent"]
    assert one["deployment.environment.name"] == "ci"
    assert one["telemetry.sdk.language"] == "python"
    assert one["service.instance.id"] == by_service["mcp-agent"]["service.instance.id"]
    assert "service.version" not in one
    services = {
        attributes_of(resource.resource)["service.name"]
        for request in received.metrics
        for resource in request.resource_metrics
    }
    assert services == {"acp-agent", "mcp-agent"}


def test_variables_of_opentelemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate: Certificate = make_certificate(tmp_path)
    with http_collector(certificate=certificate) as collector:
        for name, value in {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{collector.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate.ca),
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_SERVICE_NAME": "chosen",
            "OTEL_RESOURCE_ATTRIBUTES": "team=blue",
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
        }.items():
            monkeypatch.setenv(name, value)
        pipeline = begun(settings(tmp_path))
        assert pipeline.destination.chosen_by == "OTEL_EXPORTER_OTLP_ENDPOINT"
        end_span(pipeline, 0)
        pipeline.meter("test-agent").create_counter("calls").add(1)
        collector.received.wait(lambda: len(collector.received.metrics) > 1)  # by the interval
        collector.received.wait_for_spans(1)
        pipeline.shutdown()
        received = collector.received
    found = attributes_of(received.traces[0].resource_spans[0].resource)
    assert (found["service.name"], found["team"]) == ("chosen", "blue")
    metrics = received.metrics[0].resource_metrics[0]
    assert attributes_of(metrics.resource)["service.name"] == "chosen"
    for headers in received.headers:
        assert headers["authorization"] == "Bearer x"
        assert headers["content-encoding"] == "gzip"


def test_who_names_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(**changes: Any) -> object:
        pipeline = begun(settings(tmp_path, **changes))
        first = pipeline.resource("acp-agent")
        assert pipeline.resource("acp-agent") is first
        pipeline.shutdown()
        return first.attributes["service.name"]

    assert name() == "acp-agent"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=by-resource")
    assert name() == "by-resource"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "by-variable")
    assert name() == "by-variable"
    assert name(service_name="by-flag") == "by-flag"


def test_sampler_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    pipeline = begun(settings(tmp_path))
    decisions = [
        pipeline.sampler.should_sample(None, pipeline.id_generator.generate_trace_id(), "s")
        for _ in range(1000)
    ]
    sampled = sum(result.decision is Decision.RECORD_AND_SAMPLE for result in decisions)
    pipeline.shutdown()
    assert 150 < sampled < 350
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    pipeline = begun(settings(tmp_path))
    assert "ParentBased" in pipeline.sampler.get_description()
    pipeline.shutdown()


def test_histograms_of_our_own_are_exported(tmp_path: Path) -> None:
    pipeline = begun(settings(tmp_path))
    histograms = Histograms("debbie.turn.duration", "s", "", lambda key: {"agent": key[0]})
    histograms.record(("a",), 0.5)
    pipeline.meter("x").create_counter("debbie.messages").add(1)
    pipeline.add_histograms("x", [histograms])
    pipeline.shutdown()
    document = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    metrics = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert {metric["name"] for metric in metrics} == {"debbie.messages", "debbie.turn.duration"}


def test_files_where_there_is_no_collector(tmp_path: Path) -> None:
    nobody = f"grpc://127.0.0.1:{free_port()}"
    pipeline = begun(settings(tmp_path, local_collectors=(nobody,)))
    assert pipeline.destination.kind == "files"
    for number in range(700):
        end_span(pipeline, number)
    pipeline.meter("test-agent").create_counter("calls").add(5)
    report = pipeline.shutdown()
    assert (report.delivered, report.spooled, report.dropped) == (700, 0, 0)
    assert spooled_names(tmp_path) == names(700)
    assert '"calls"' in (tmp_path / "metrics.jsonl").read_text()
    assert not (tmp_path / "spool").exists()


def test_a_local_collector_is_found(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        url = f"grpc://127.0.0.1:{collector.port}"
        pipeline = begun(settings(tmp_path, local_collectors=(url,)))
        end_span(pipeline, 0)
        pipeline.shutdown()
        assert collector.received.span_names == ["span 0"]
    assert not (tmp_path / "traces.jsonl").exists()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_hung_collector_does_not_hold_up_the_end(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        collector.hang.set()
        url = f"{kind}://127.0.0.1:{collector.port}"
        pipeline = begun(settings(tmp_path, otlp=url, tame_sdk_logs=True))
        for number in range(600):
            end_span(pipeline, number)
        pipeline.meter("test-agent").create_counter("calls").add(5)
        started = time.monotonic()
        report = pipeline.shutdown(2.0)
        assert time.monotonic() - started < 2.3
        assert pipeline.shutdown() is report
        collector.close()
    assert (report.delivered, report.spooled, report.dropped) == (0, 600, 0)
    assert spooled_names(tmp_path / "spool") == names(600)
    assert report.path == tmp_path / "spool" / "traces.jsonl"
    assert '"calls"' in (tmp_path / "spool" / "metrics.jsonl").read_text()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("600 spans" in line and str(report.path) in line for line in lines) == 1


def test_a_dead_collector_costs_few_log_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger("opentelemetry.exporter").level
    url = f"grpc://127.0.0.1:{free_port()}"
    pipeline = begun(settings(tmp_path, otlp=url, tame_sdk_logs=True))
    for number in range(2000):
        end_span(pipeline, number)
    assert not pipeline.flush(0.7)
    report = pipeline.shutdown()
    assert report.spooled == 2000
    assert report.seconds < 3
    assert [r.name for r in caplog.records if not r.name.startswith("debbie_otel")] == []
    assert len(caplog.records) == 2  # that it does not answer, and where the spans are
    assert logging.getLogger("opentelemetry.exporter").level == level


def test_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    pipeline = begun(settings(tmp_path))
    assert pipeline.sampler is ALWAYS_OFF
    end_span(pipeline, 0)
    pipeline.meter("x").create_counter("calls").add(1)
    assert pipeline.flush(1)
    report = pipeline.shutdown()
    assert (report.delivered, report.spooled, report.dropped) == (0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_exporters_by_name(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from tests.telemetry.pipelines import end_span, settings, begun
pipeline = begun(settings(Path(sys.argv[1])))
end_span(pipeline, 7)
pipeline.meter("x").create_counter("calls").add(1)
pipeline.shutdown()
"""
    variables = {"OTEL_TRACES_EXPORTER": "console,otlp", "OTEL_METRICS_EXPORTER": "none"}
    done = run(program, str(tmp_path), **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"name": "span 7"' in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["traces.jsonl"]


@pytest.mark.parametrize("variable", ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"])
def test_unknown_exporter(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "pigeon")
    with pytest.raises(ConfigurationError, match=f"{variable}: unknown exporter 'pigeon'"):
        begun(settings(tmp_path))


def test_wrong_compression_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_COMPRESSION"):
        begun(settings(tmp_path, otlp="grpc://127.0.0.1:1"))


def test_the_process_ends_with_a_hung_collector(tmp_path: Path) -> None:
    """Also without a shutdown: nothing of the SDK's waits at exit."""
    program = """
import os, sys
from pathlib import Path
from debbie_otel.telemetry.export.pipeline import TelemetrySettings
from tests.telemetry.pipelines import end_span, begun
settings = TelemetrySettings(otlp=sys.argv[1], data_dir=Path(sys.argv[2]))
pipeline = begun(settings)
end_span(pipeline, 0)
pipeline.meter("x").create_counter("calls").add(1)
pipeline.flush(0.5)
print("flushed")
"""
    with http_collector() as collector:
        collector.hang.set()
        url = f"http://127.0.0.1:{collector.port}"
        started = time.monotonic()
        done = run(program, url, str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "flushed\n"), done.stderr
    assert time.monotonic() - started < 9


def connections() -> set[object]:
    """The sockets of this process that are connected or about to be."""
    found = psutil.net_connections("inet")  # before psutil 6 a process's own has another name
    return {(c.fd, c.laddr, c.raddr) for c in found if c.raddr and c.pid == os.getpid()}


def test_nothing_runs_and_nobody_is_asked_before_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        threads, sockets = set(threading.enumerate()), connections()
        pipeline = Pipeline(
            settings(tmp_path, local_collectors=(f"grpc://127.0.0.1:{port}",)), os.environ
        )
        end_span(pipeline, 0)
        pipeline.meter("x").create_counter("calls").add(1)
        assert pipeline.destination.kind == "undecided"
        assert set(threading.enumerate()) <= threads
        assert connections() <= sockets  # those of earlier tests may end meanwhile
        with pytest.raises(BlockingIOError):
            server.accept()
    assert list(tmp_path.iterdir()) == []


def test_what_is_handed_over_before_the_start_is_exported(tmp_path: Path) -> None:
    pipeline = Pipeline(settings(tmp_path), os.environ)
    end_span(pipeline, 0)
    pipeline.meter("x").create_observable_counter("calls", [lambda _: [Observation(7)]])
    histograms = Histograms("debbie.turn.duration", "s", "", lambda key: {"agent": key[0]})
    pipeline.add_histograms("x", [histograms])
    histograms.record(("a",), 0.5)
    pipeline.start()
    pipeline.start()  # once is enough
    pipeline.shutdown()
    assert spooled_names(tmp_path) == names(1)
    metrics = (tmp_path / "metrics.jsonl").read_text()
    assert '"asInt":"7"' in metrics
    assert "debbie.turn.duration" in metrics


def test_spans_and_histograms_have_one_clock(tmp_path: Path) -> None:
    pipeline = Pipeline(settings(tmp_path), os.environ, lambda: 1234567)
    histograms = Histograms("debbie.turn.duration", "s", "", lambda key: {"agent": key[0]})
    histograms.record(("a",), 0.5)
    pipeline.meter("x").create_observable_counter("calls", [lambda _: [Observation(7)]])
    pipeline.add_histograms("x", [histograms])
    pipeline.start()
    pipeline.shutdown()
    assert '"timeUnixNano":"1234567"' in (tmp_path / "metrics.jsonl").read_text()


def test_a_service_that_is_added_while_it_starts_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(settings(tmp_path), os.environ)
    for name in ("a", "b"):
        pipeline.meter(name).create_observable_counter(name, [lambda _: [Observation(1)]])
    adding = threading.Thread(
        target=lambda: pipeline.meter("late").create_observable_counter(
            "late", [lambda _: [Observation(1)]]
        )
    )
    attach = ServiceMetrics.attach

    def attach_slowly(metrics: ServiceMetrics, *arguments: Any, **named: Any) -> None:
        if adding.ident is None:
            adding.start()
            adding.join(0.1)  # it may come to an end, or wait for the start
        attach(metrics, *arguments, **named)

    monkeypatch.setattr(ServiceMetrics, "attach", attach_slowly)
    pipeline.start()
    adding.join(5)
    pipeline.shutdown()
    metrics = (tmp_path / "metrics.jsonl").read_text()
    assert all(f'"name":"{name}"' in metrics for name in ("a", "b", "late"))


def test_resources_are_not_detected_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "otel,process")
    detected: list[str] = []
    create = Resource.create

    def seen(given: dict[str, Any]) -> Resource:
        detected.append("once")
        return create(given)

    monkeypatch.setattr(Resource, "create", seen)
    pipeline = Pipeline(settings(tmp_path), os.environ)
    assert detected == []
    pipeline.start()
    assert pipeline.resource("x").attributes["process.pid"] == os.getpid()
    pipeline.shutdown()
    assert detected == ["once"]
