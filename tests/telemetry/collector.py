"""OTLP receivers on 127.0.0.1 for tests: real gRPC and real HTTP, with faults on request."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import grpc
import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Received:
    """What has arrived, in order; `wait` waits for more of it."""

    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    logs: list[ExportLogsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, request: Any, headers: dict[str, str]) -> None:
        with self._changed:
            into: dict[type, list[Any]] = {
                ExportTraceServiceRequest: self.traces,
                ExportMetricsServiceRequest: self.metrics,
                ExportLogsServiceRequest: self.logs,
            }
            into[type(request)].append(request)
            self.headers.append(headers)
            self._changed.notify_all()

    def note(self, headers: dict[str, str]) -> None:
        """Count a request that is not taken."""
        with self._changed:
            self.headers.append(headers)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "the collector waited in vain"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in list(self.traces)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def span_names(self) -> list[str]:
        return [span.name for span in self.spans]

    @property
    def log_records(self) -> list[Any]:
        return [
            record
            for request in list(self.logs)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def wait_for_spans(self, count: int, timeout: float = 10.0) -> None:
        self.wait(lambda: len(self.spans) >= count, timeout)


_ANSWERS: dict[type, Callable[[], Any]] = {
    ExportTraceServiceRequest: ExportTraceServiceResponse,
    ExportMetricsServiceRequest: ExportMetricsServiceResponse,
    ExportLogsServiceRequest: ExportLogsServiceResponse,
}


class GrpcCollector(TraceServiceServicer, MetricsServiceServicer, LogsServiceServicer):
    """An OTLP/gRPC receiver.

    Attributes:
        refuse_with: A status code to answer with, or None.
        hang: While set, calls are accepted and not answered.

    """

    def __init__(self, port: int = 0, certificate: Certificate | None = None) -> None:
        self.received = Received()
        self.refuse_with: grpc.StatusCode | None = None
        self.hang = threading.Event()
        self._released = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)]
        )
        add_traces: Any = add_TraceServiceServicer_to_server
        add_metrics: Any = add_MetricsServiceServicer_to_server
        add_logs: Any = add_LogsServiceServicer_to_server
        add_traces(self, self._server)
        add_metrics(self, self._server)
        add_logs(self, self._server)
        address = f"127.0.0.1:{port}"
        if certificate is None:
            self.port = self._server.add_insecure_port(address)
        else:
            pair = certificate.key.read_bytes(), certificate.chain.read_bytes()
            credentials = grpc.ssl_server_credentials([pair])
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        if self.hang.is_set():
            self.received.note(metadata)
            self._released.wait(30)
        if self.refuse_with is not None:
            self.received.note(metadata)
            context.abort(self.refuse_with, "as the test wants it")
        self.received.add(request, metadata)
        return _ANSWERS[type(request)]()

    def close(self) -> None:
        self._released.set()
        self._server.stop(grace=None).wait(5)


class HttpCollector:
    """An OTLP/HTTP receiver of protobuf bodies, like `GrpcCollector`."""

    def __init__(self, port: int = 0, certificate: Certificate | None = None) -> None:
        self.received = Received()
        self.refuse_with: int | None = None
        self.hang = threading.Event()
        self.released = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = False  # server_close joins them, so that no socket leaks
        self.connections: list[socket.socket] = []
        if certificate is not None:
            context = SSLContext(PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.chain, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.connections.append(handler.connection)
        headers = {key.lower(): value for key, value in handler.headers.items()}
        body = handler.rfile.read(int(headers["content-length"]))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if self.hang.is_set():
            self.received.note(headers)
            self.released.wait(30)
            handler.close_connection = True
            return
        if self.refuse_with is not None:
            self.received.note(headers)
        elif handler.path.endswith("/v1/traces"):
            self.received.add(ExportTraceServiceRequest.FromString(body), headers)
        elif handler.path.endswith("/v1/logs"):
            self.received.add(ExportLogsServiceRequest.FromString(body), headers)
        else:
            assert handler.path.endswith("/v1/metrics")
            self.received.add(ExportMetricsServiceRequest.FromString(body), headers)
        handler.send_response(self.refuse_with or 200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join(5)
        for connection in self.connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


@contextmanager
def grpc_collector(
    port: int = 0, certificate: Certificate | None = None
) -> Iterator[GrpcCollector]:
    collector = GrpcCollector(port, certificate)
    try:
        yield collector
    finally:
        collector.close()


@contextmanager
def http_collector(
    port: int = 0, certificate: Certificate | None = None
) -> Iterator[HttpCollector]:
    collector = HttpCollector(port, certificate)
    try:
        yield collector
    finally:
        collector.close()


@dataclass(frozen=True)
class Certificate:
    """Files: a CA that nobody else trusts, and a chain with key for 127.0.0.1 from it."""

    ca: Path
    chain: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    """Make a CA and a server's certificate."""
    made = Certificate(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca = trustme.CA()
    server = ca.issue_cert("127.0.0.1", "localhost")
    ca.cert_pem.write_to_path(str(made.ca))
    server.cert_chain_pems[0].write_to_path(str(made.chain))
    server.private_key_pem.write_to_path(str(made.key))
    return made
