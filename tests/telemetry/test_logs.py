"""Log events, through real receivers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from debbie_otel import semconv
from debbie_otel.errors import ConfigurationError
from tests.telemetry.collector import free_port, grpc_collector, http_collector
from tests.telemetry.pipelines import CONTEXT, attributes_of, begun, clean, emit, run, settings

__all__ = ["clean"]  # a fixture


def written(directory: Path) -> list[dict[str, Any]]:
    """Return the log records of a file."""
    lines = (directory / "logs.jsonl").read_text().splitlines()
    return [
        record
        for line in lines
        for resource in json.loads(line)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def bodies(directory: Path) -> list[str]:
    return [record["body"]["stringValue"] for record in written(directory)]


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_an_event_arrives(kind: str, tmp_path: Path) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        url = f"{kind}://127.0.0.1:{collector.port}"
        pipeline = begun(settings(tmp_path, otlp=url))
        emit(pipeline)
        emit(pipeline, "later \ud800", severity="ERROR", service_name="mcp-agent", span=None)
        assert pipeline.flush(5)
        received = collector.received
        assert len(received.log_records) == 2
        assert pipeline.shutdown().seconds < 2
    by_service = {
        attributes_of(group.resource)["service.name"]: group.scope_logs[0]
        for request in received.logs
        for group in request.resource_logs
    }
    scope = by_service["acp-agent"]
    assert (scope.scope.name, scope.schema_url) == (semconv.SCOPE, semconv.SCHEMA_URL)
    (first,), (second,) = scope.log_records, by_service["mcp-agent"].log_records
    assert (first.event_name, first.body.string_value) == ("debbie.alert", "something stalled")
    assert (first.severity_text, first.severity_number, first.time_unix_nano) == ("WARN", 13, 7)
    assert int.from_bytes(first.trace_id, "big") == CONTEXT.trace_id
    assert int.from_bytes(first.span_id, "big") == CONTEXT.span_id
    assert {a.key: a.value for a in first.attributes}["debbie.alert.value"].double_value == 1.5
    assert (second.severity_text, second.severity_number) == ("ERROR", 17)
    assert second.body.string_value == "later ?"
    assert second.trace_id == second.span_id == b""
    assert not (tmp_path / "spool").exists()


def test_a_file_where_there_is_no_collector(tmp_path: Path) -> None:
    pipeline = begun(settings(tmp_path))
    emit(pipeline)
    assert pipeline.flush(5)
    emit(pipeline, "last words")
    pipeline.shutdown()
    assert bodies(tmp_path) == ["something stalled", "last words"]
    record = written(tmp_path)[0]
    assert (record["traceId"], record["spanId"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert (record["eventName"], record["timeUnixNano"]) == ("debbie.alert", "7")


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_hung_collector_costs_neither_time_nor_events(kind: str, tmp_path: Path) -> None:
    make: Any = grpc_collector if kind == "grpc" else http_collector
    with make() as collector:
        collector.hang.set()
        url = f"{kind}://127.0.0.1:{collector.port}"
        pipeline = begun(settings(tmp_path, otlp=url, tame_sdk_logs=True))
        before = time.monotonic()
        for number in range(600):  # more than one batch: one is under way, others wait
            emit(pipeline, str(number))
        assert time.monotonic() - before < 1
        collector.received.wait(lambda: len(collector.received.headers) > 0)
        started = time.monotonic()
        pipeline.shutdown(1.0)
        assert time.monotonic() - started < 1.3
        emit(pipeline, "too late")
        collector.close()
    assert sorted(bodies(tmp_path / "spool"), key=int) == [str(n) for n in range(600)]


def test_what_is_refused_is_kept_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_collector() as collector:
        collector.refuse_with = 400
        url = f"http://127.0.0.1:{collector.port}"
        pipeline = begun(settings(tmp_path, otlp=url, tame_sdk_logs=True))
        for body in ("a", "b"):
            emit(pipeline, body)
            assert not pipeline.flush(5)
        collector.refuse_with = None
        emit(pipeline, "c")
        assert pipeline.flush(5)
        pipeline.shutdown()
        assert [r.body.string_value for r in collector.received.log_records] == ["c"]
    assert bodies(tmp_path / "spool") == ["a", "b"]
    said = [r.getMessage() for r in caplog.records if r.name.endswith("telemetry.logs")]
    assert said == [
        f"log events cannot be delivered; they are in {tmp_path / 'spool' / 'logs.jsonl'}"
    ]


def test_a_dead_collector_does_not_hold_up_the_end(tmp_path: Path) -> None:
    url = f"grpc://127.0.0.1:{free_port()}"
    pipeline = begun(settings(tmp_path, otlp=url, tame_sdk_logs=True))
    emit(pipeline)
    assert pipeline.shutdown(1.0).seconds < 1.3
    assert bodies(tmp_path / "spool") == ["something stalled"]


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")]
)
def test_off(variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    pipeline = begun(settings(tmp_path))
    emit(pipeline)
    assert pipeline.flush(1)
    pipeline.shutdown()
    assert list(tmp_path.iterdir()) == []


def test_exporters_by_name(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from tests.telemetry.pipelines import begun, emit, settings
pipeline = begun(settings(Path(sys.argv[1])))
emit(pipeline)
pipeline.shutdown()
"""
    done = run(program, str(tmp_path), OTEL_LOGS_EXPORTER="console,otlp")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"event_name": "debbie.alert"' in done.stdout
    assert bodies(tmp_path) == ["something stalled"]


def test_unknown_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "pigeon")
    with pytest.raises(ConfigurationError, match="OTEL_LOGS_EXPORTER: unknown exporter 'pigeon'"):
        begun(settings(tmp_path))
