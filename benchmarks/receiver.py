"""An OTLP receiver that counts: `python -m benchmarks.receiver grpc|http PORT METHOD`.

It keeps what arrives as it is, and decodes only when asked, so that it takes little time while
something is measured. A line on stdin asks; the answer is a line of JSON on stdout:
`{"spans": n, "calls": n, "requests": {"traces": n, ...}, "bytes": {"traces": n, ...}}`, where
`calls` are the spans of METHOD and `bytes` the bodies as they came, compressed or not (gRPC
uncompresses before they can be counted). The process ends with its stdin.

Source: OTLP 1.x, https://opentelemetry.io/docs/specs/otlp/ (the two transports, gzip, JSON).
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SIGNALS = ("traces", "metrics", "logs")
PROTOCOLS = ("grpc", "http")


class Export(NamedTuple):
    """The body of one export request, `json` or protobuf, and its size on the wire."""

    body: bytes
    json: bool
    size: int


class Tally:
    """What arrived, from any thread."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._lock = threading.Lock()
        self._pending: list[Export] = []
        self._requests = Counter(dict.fromkeys(SIGNALS, 0))
        self._bytes = Counter(dict.fromkeys(SIGNALS, 0))
        self._spans = 0
        self._calls = 0

    def add(self, signal: str, export: Export) -> None:
        """Keep one export request."""
        with self._lock:
            self._requests[signal] += 1
            self._bytes[signal] += export.size
            if signal == "traces":
                self._pending.append(export)

    def take(self) -> list[Export]:
        """Return the traces that are pending, as they came; they are not counted."""
        with self._lock:
            pending, self._pending = self._pending, []
        return pending

    def count(self) -> dict[str, Any]:
        """Decode what is pending, and return the totals."""
        with self._lock:
            pending, self._pending = self._pending, []
            requests, sizes = dict(self._requests), dict(self._bytes)
        for export in pending:
            for name, values in _spans_json(export) if export.json else _spans(export):
                self._spans += 1
                self._calls += self._method in name.split() or self._method in values
        return {"spans": self._spans, "calls": self._calls, "requests": requests, "bytes": sizes}


def _spans(export: Export) -> Iterator[tuple[str, list[str]]]:
    """Yield each span's name and the texts of its attributes."""
    for resource in ExportTraceServiceRequest.FromString(export.body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield span.name, [item.value.string_value for item in span.attributes]


def _spans_json(export: Export) -> Iterator[tuple[str, list[str]]]:
    for resource in json.loads(export.body).get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                values = [item["value"].get("stringValue") for item in span.get("attributes", ())]
                yield span["name"], values


def start_grpc(port: int, tally: Tally) -> grpc.Server:
    """Start the three OTLP/gRPC services; stop with `.stop(grace)`."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=4),
        options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
    )
    services = {"traces": "trace.v1.Trace", "metrics": "metrics.v1.Metrics", "logs": "logs.v1.Logs"}
    for signal, service in services.items():

        def export(body: bytes, _context: object, signal: str = signal) -> bytes:
            tally.add(signal, Export(body, json=False, size=len(body)))
            return b""  # an empty message: nothing was refused

        # Without (de)serializers the messages stay bytes.
        handler: Any = grpc.unary_unary_rpc_method_handler(export)
        name = f"opentelemetry.proto.collector.{service}Service"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"Export": handler}),)
        )
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def start_http(port: int, tally: Tally) -> ThreadingHTTPServer:
    """Start `/v1/traces`, `/v1/metrics`, `/v1/logs`; stop with `.shutdown()`, `.server_close()`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = self.rfile.read(size)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            signal = self.path.removeprefix("/v1/")
            if signal not in SIGNALS:
                self.send_error(404)
                return
            kind = self.headers.get_content_type()
            tally.add(signal, Export(body, json=kind == "application/json", size=size))
            answer = b"{}" if kind == "application/json" else b""
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(protocol: str, port: int, method: str) -> None:
    """Receive, and answer the questions on stdin, until it ends."""
    tally = Tally(method)
    server = start_grpc(port, tally) if protocol == "grpc" else start_http(port, tally)
    for _ in sys.stdin:
        print(json.dumps(tally.count()), flush=True)
    if isinstance(server, ThreadingHTTPServer):
        server.shutdown()
        server.server_close()
    else:
        server.stop(None).wait(5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
