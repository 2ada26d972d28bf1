"""Lines of OTLP/JSON, read back."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def parse_line(line: bytes) -> ExportTraceServiceRequest:
    """Read a line of OTLP/JSON with protobuf's own mapping, which wants ids in base64."""

    def fix(value: Any) -> Any:
        if isinstance(value, list):
            return [fix(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64encode(bytes.fromhex(entry)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else fix(entry)
            for key, entry in value.items()
        }

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json_format.ParseDict(fix(json.loads(line)), ExportTraceServiceRequest())
