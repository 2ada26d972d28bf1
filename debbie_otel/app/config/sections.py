"""Sections of the configuration: everything that can be set.

`[detection]`, `[[rules]]` and `[interventions]` are defined by the parts that they belong to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from debbie_otel.app.config.presets import ProfileName
from debbie_otel.detection.settings import DetectionSettings, RuleSettings
from debbie_otel.intervention.intervention_config import InterventionConfig

Seconds = Annotated[float, Meta(gt=0, le=86_400 * 30)]
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 50)]


class _ConfigSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ProxyConfig(_ConfigSection, frozen=True, kw_only=True):
    """[proxy]: where Debbie stands.

    Attributes:
        upstream: URL of the server: ws://, wss:// or ws+unix:.
        listen: HOST:PORT or unix:PATH; the default is reachable from this machine alone.
        dialect: Name of a dialect, or auto.
        profile: How eagerly Debbie detects and intervenes.
        record: File that every message is recorded in, content and all.
        tls_cert, tls_key: To listen with TLS.
        ca, insecure: Whom to trust on a wss upstream.
        watch_pid: Process whose memory is watched; None finds the one behind a local upstream.
        host_header: What the Host header says to the upstream.
        max_connections: Clients at once.
        handshake_timeout: Seconds for a client's first request.
        connect_timeout: Seconds for the upstream to accept.
        max_message_size: Bytes; larger messages pass uninspected.

    """

    upstream: str | None = None
    listen: str = "127.0.0.1:8765"
    dialect: str = "auto"
    profile: ProfileName = "default"
    record: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ca: Path | None = None
    insecure: bool = False
    watch_pid: Count | None = None
    host_header: Literal["auto", "preserve", "upstream"] = "auto"
    max_connections: Count = 1024
    handshake_timeout: Seconds = 10.0
    connect_timeout: Seconds = 10.0
    max_message_size: Bytes = 8 << 20


class TelemetryConfig(_ConfigSection, frozen=True, kw_only=True):
    """[telemetry]: what is recorded, and where it goes.

    Attributes:
        otlp: URL of the receiver; None leaves it to the `OTEL_*` variables.
        service_name: `service.name`; None is `<dialect>-agent`.
        data_dir: For files; None is the platform's.
        stream_chunks: Whether a run of chunks is one span, a span each, or none.
        capture_content: Record arguments, results and words, cut and redacted.
        log_events: Whether alerts are log events too.
        method_limit: Names that metrics tell apart; the rest is `_OTHER`.
        flush_timeout: Seconds that sending the rest may take at the end.

    """

    otlp: str | None = None
    service_name: str | None = None
    data_dir: Path | None = None
    stream_chunks: Literal["fold", "span", "off"] = "fold"
    capture_content: bool = False
    log_events: bool = True
    method_limit: Count = 64
    flush_timeout: Seconds = 4.0


class LimitsConfig(_ConfigSection, frozen=True, kw_only=True):
    """[limits]: bounds on what is held.

    Attributes:
        pending_calls: Open requests a connection and direction.
        sessions: Live sessions.
        call_timeout: Seconds after which an unanswered request is given up.
        recording_bytes: Size at which a recording stops.

    """

    pending_calls: Count = 10_000
    sessions: Count = 10_000
    call_timeout: Seconds = 3600.0
    recording_bytes: Bytes = 1 << 30


class DialectsConfig(_ConfigSection, frozen=True, kw_only=True):
    """[dialects]: the user's own.

    Attributes:
        paths: TOML files, relative to the configuration's.

    """

    paths: tuple[Path, ...] = ()


class Config(_ConfigSection, frozen=True, kw_only=True):
    """Everything that can be set."""

    proxy: ProxyConfig = msgspec.field(default_factory=ProxyConfig)
    telemetry: TelemetryConfig = msgspec.field(default_factory=TelemetryConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    dialects: DialectsConfig = msgspec.field(default_factory=DialectsConfig)
    detection: DetectionSettings = msgspec.field(default_factory=DetectionSettings)
    rules: tuple[RuleSettings, ...] = ()
    interventions: InterventionConfig = msgspec.field(default_factory=InterventionConfig)
