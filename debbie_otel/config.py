"""The one typed configuration: defaults < TOML file < environment < flags.

`OTEL_*` variables are read by OpenTelemetry's SDK itself. Ours are few: `DEBBIE_UPSTREAM`,
`DEBBIE_LISTEN`, `DEBBIE_DIALECT`, `DEBBIE_PROFILE`, `DEBBIE_DATA_DIR`. Content capture follows the
GenAI convention's `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from debbie_otel.errors import ConfigurationError

Seconds = Annotated[float, Meta(gt=0, le=86_400 * 30)]
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 50)]

ENVIRONMENT = {
    "DEBBIE_UPSTREAM": ("proxy", "upstream"),
    "DEBBIE_LISTEN": ("proxy", "listen"),
    "DEBBIE_DIALECT": ("proxy", "dialect"),
    "DEBBIE_PROFILE": ("proxy", "profile"),
    "DEBBIE_DATA_DIR": ("telemetry", "data_dir"),
}
CAPTURE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ProxyConfig(_Section, frozen=True, kw_only=True):
    """[proxy]: where Debbie stands.

    Attributes:
        upstream: URL of the server: ws://, wss:// or ws+unix:.
        listen: HOST:PORT or unix:PATH; the default is reachable from this machine alone.
        dialect: Name of a dialect, or auto.
        profile: How eagerly Debbie detects and intervenes.
        record: File that every message is recorded in, content and all.
        tls_cert, tls_key: To listen with TLS.
        ca, insecure: Whom to trust on a wss upstream.
        host_header: What the Host header says to the upstream.
        max_connections: Clients at once.
        handshake_timeout: Seconds for a client's first request.
        connect_timeout: Seconds for the upstream to accept.
        max_message_size: Bytes; larger messages pass uninspected.

    """

    upstream: str | None = None
    listen: str = "127.0.0.1:8765"
    dialect: str = "auto"
    profile: Literal["default", "aggressive", "passive"] = "default"
    record: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ca: Path | None = None
    insecure: bool = False
    host_header: Literal["auto", "preserve", "upstream"] = "auto"
    max_connections: Count = 1024
    handshake_timeout: Seconds = 10.0
    connect_timeout: Seconds = 10.0
    max_message_size: Bytes = 8 << 20


class TelemetryConfig(_Section, frozen=True, kw_only=True):
    """[telemetry]: what is recorded, and where it goes.

    Attributes:
        otlp: URL of the receiver; None leaves it to the `OTEL_*` variables.
        service_name: `service.name`; None is `<dialect>-agent`.
        data_dir: For files; None is the platform's.
        stream_chunks: Whether a run of chunks is one span, a span each, or none.
        capture_content: Record arguments, results and words, cut and redacted.
        method_limit: Names that metrics tell apart; the rest is `_OTHER`.
        flush_timeout: Seconds that sending the rest may take at the end.

    """

    otlp: str | None = None
    service_name: str | None = None
    data_dir: Path | None = None
    stream_chunks: Literal["fold", "span", "off"] = "fold"
    capture_content: bool = False
    method_limit: Count = 64
    flush_timeout: Seconds = 4.0


class LimitsConfig(_Section, frozen=True, kw_only=True):
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


class DialectsConfig(_Section, frozen=True, kw_only=True):
    """[dialects]: the user's own.

    Attributes:
        paths: TOML files, relative to the configuration's.

    """

    paths: list[Path] = []


class Config(_Section, frozen=True, kw_only=True):
    """Everything that can be set."""

    proxy: ProxyConfig = msgspec.field(default_factory=ProxyConfig)
    telemetry: TelemetryConfig = msgspec.field(default_factory=TelemetryConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    dialects: DialectsConfig = msgspec.field(default_factory=DialectsConfig)


def load_config(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Read and merge the configuration.

    Args:
        path: A TOML file.
        environ: Variables.
        flags: Values from the command line, by section and key.

    Raises:
        ConfigurationError: File, variable or flag, key, and what was expected.

    """
    document = {} if path is None else _read(path)
    config = _decode(document, str(path), "")
    if path is not None:
        config = _relative_to(config, path.parent)
    for where, section, key, value in _overrides(environ or {}, flags or {}):
        _decode({section: {key: value}}, where, f"{section}.{key}")
        changed = msgspec.structs.replace(
            getattr(config, section),
            **{key: getattr(getattr(_decode({section: {key: value}}, where, ""), section), key)},
        )
        config = msgspec.structs.replace(config, **{section: changed})
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        document = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(str(path), f"cannot be read: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"no valid TOML: {error}") from None
    return dict(document)


def _overrides(
    environ: Mapping[str, str], flags: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str, str, Any]]:
    found: list[tuple[str, str, str, Any]] = [
        (variable, section, key, environ[variable])
        for variable, (section, key) in ENVIRONMENT.items()
        if environ.get(variable)
    ]
    captured = environ.get(CAPTURE_CONTENT, "").strip().lower()
    if captured:
        wanted = captured not in ("false", "0", "no", "no_content")
        found.append((CAPTURE_CONTENT, "telemetry", "capture_content", wanted))
    found += [
        ("--" + key.replace("_", "-"), section, key, value)
        for section, values in flags.items()
        for key, value in values.items()
    ]
    return found


def _decode(document: dict[str, Any], where: str, key: str) -> Config:
    try:
        return msgspec.convert(document, Config, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise _complaint(str(error), where, key) from None


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise msgspec.ValidationError("Expected the path of a file")


def _complaint(error: str, where: str, key: str) -> ConfigurationError:
    """Say which key is wrong, and what was expected; suggest what may have been meant."""
    message, _, place = error.partition(" - at ")
    dotted = key or place.strip("`$.")
    unknown = re.search(r"unknown field `(.*)`", message)
    if unknown is not None:
        name = unknown.group(1)
        known = _keys(dotted)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "known: " + ", ".join(known)
        full = f"{dotted}.{name}" if dotted else name
        return ConfigurationError(where, f"unknown key {full}", hint)
    shown = where if where.startswith("--") or where.isupper() else f"{where}: {dotted}"
    return ConfigurationError(shown, message[0].lower() + message[1:])


def _keys(section: str) -> tuple[str, ...]:
    if not section:
        return Config.__struct_fields__
    sections: dict[str, type[_Section]] = {
        "proxy": ProxyConfig,
        "telemetry": TelemetryConfig,
        "limits": LimitsConfig,
        "dialects": DialectsConfig,
    }
    return sections[section].__struct_fields__ if section in sections else ()


def _relative_to(config: Config, folder: Path) -> Config:
    """Take the paths in a file as relative to that file."""

    def at(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    proxy = msgspec.structs.replace(
        config.proxy,
        **{key: at(getattr(config.proxy, key)) for key in ("record", "tls_cert", "tls_key", "ca")},
    )
    telemetry = msgspec.structs.replace(config.telemetry, data_dir=at(config.telemetry.data_dir))
    own = DialectsConfig(paths=[folder / path for path in config.dialects.paths])
    return msgspec.structs.replace(config, proxy=proxy, telemetry=telemetry, dialects=own)
