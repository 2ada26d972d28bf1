"""The choice of the destination."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.export.destination import (
    Destination,
    Protocol,
    Route,
    choose,
    default_data_dir,
    find,
    require_directory,
)
from tests.telemetry.collector import free_port

GRPC, HTTP = Protocol.GRPC, Protocol.HTTP
DATA = Path("/data")


def chosen(otlp: str | None, environ: dict[str, str]) -> Destination:
    found = choose(otlp, environ)
    assert found is not None
    return found


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "protocol", "traces", "metrics"),
    [
        ("http://host:4317", GRPC, "http://host:4317", "http://host:4317"),
        ("https://host:4317", GRPC, "https://host:4317", "https://host:4317"),
        ("grpc://host:9999", GRPC, "http://host:9999", "http://host:9999"),
        ("grpcs://host", GRPC, "https://host", "https://host"),
        ("http://host:4318", HTTP, "http://host:4318/v1/traces", "http://host:4318/v1/metrics"),
        ("http://host:4318/", HTTP, "http://host:4318/v1/traces", "http://host:4318/v1/metrics"),
        ("https://host", HTTP, "https://host/v1/traces", "https://host/v1/metrics"),
        ("http://host:4317/otlp", HTTP, "http://host:4317/otlp/v1/traces", None),
        ("http://h:1/a/v1/traces", HTTP, "http://h:1/a/v1/traces", "http://h:1/a/v1/metrics"),
        ("http://[::1]:4317", GRPC, "http://[::1]:4317", None),
    ],
)
def test_flag(url: str, protocol: Protocol, traces: str, metrics: str | None) -> None:
    found = chosen(url, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:1"})
    assert found.kind == "otlp"
    assert (found.where, found.chosen_by) == (url, "--otlp")
    assert found.routes["traces"] == Route(protocol, traces)
    assert found.routes["metrics"].endpoint == (metrics or traces.replace("traces", "metrics"))
    assert found.routes["logs"] == Route(protocol, traces.replace("traces", "logs"))


def test_a_set_protocol_decides() -> None:
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert chosen("http://h:4317", environ).routes["traces"] == Route(
        HTTP, "http://h:4317/v1/traces"
    )
    assert chosen("grpc://h:4317", environ).routes["traces"].protocol is GRPC
    environ = {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}
    routes = chosen("http://h:4318", environ).routes
    assert (routes["traces"].protocol, routes["metrics"].protocol) == (HTTP, GRPC)
    assert "gRPC" in chosen("http://h:4317", {}).hint


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, GRPC, GRPC),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "h:4317"}, GRPC, GRPC),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://h"}, GRPC, GRPC),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, HTTP, HTTP),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://h/otlp"}, HTTP, HTTP),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318/v1/traces"}, HTTP, GRPC),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:9",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            HTTP,
            GRPC,
        ),
    ],
)
def test_variables(environ: dict[str, str], traces: Protocol, metrics: Protocol) -> None:
    found = chosen(None, environ)
    assert found.kind == "otlp"
    assert found.chosen_by in environ
    assert found.routes.pop("logs").endpoint is None  # left to the SDK, as the others
    assert found.routes == {"traces": Route(traces), "metrics": Route(metrics)}


@pytest.mark.parametrize(
    ("otlp", "environ", "message"),
    [
        ("host:4317", {}, "--otlp: 'host:4317' is not an OTLP endpoint"),
        ("ftp://host", {}, "--otlp: 'ftp://host' is not an OTLP endpoint"),
        ("http://", {}, "is not an OTLP endpoint"),
        ("http://h:99999", {}, "is not a valid URL"),
        (
            "http://h:1",
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: unknown protocol 'carrier-pigeon'",
        ),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:x"}, "OTEL_EXPORTER_OTLP_ENDPOINT: "),
    ],
)
def test_wrong_values_get_one_line(otlp: str | None, environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose(otlp, environ)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_local_collectors_in_order(listener: int) -> None:
    dead, live = f"grpc://127.0.0.1:{free_port()}", f"http://127.0.0.1:{listener}"
    assert choose(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}) is None
    found = find((dead, live), DATA)
    assert (found.kind, found.where) == ("otlp", live)
    assert found.routes["traces"] == Route(HTTP, f"{live}/v1/traces")


def test_files_where_nothing_listens() -> None:
    found = find((f"grpc://127.0.0.1:{free_port()}",), DATA)
    assert (found.kind, found.where, found.routes) == ("files", "/data", {})
    assert "/data/traces.jsonl" in found.hint


def test_disabled() -> None:
    assert chosen("http://h:4317", {"OTEL_SDK_DISABLED": "TRUE"}).kind == "disabled"


def test_data_directory(tmp_path: Path) -> None:
    assert default_data_dir({"XDG_DATA_HOME": "/x"}) == Path("/x/debbie_otel")
    home = Path.home() / ".local/share/debbie_otel"
    assert default_data_dir({}) == default_data_dir({"XDG_DATA_HOME": "relative"}) == home
    require_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="no data directory: "):
        require_directory(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_directory_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="not writable"):
        require_directory(tmp_path)
    tmp_path.chmod(0o700)
