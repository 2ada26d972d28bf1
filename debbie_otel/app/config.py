"""The one typed configuration: defaults < TOML file < environment < flags.

`OTEL_*` variables are read by OpenTelemetry's SDK itself. Ours are few: `DEBBIE_UPSTREAM`,
`DEBBIE_LISTEN`, `DEBBIE_DIALECT`, `DEBBIE_PROFILE`, `DEBBIE_DATA_DIR`. Content capture follows the
GenAI convention's `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`. Other variables that begin
with `DEBBIE_` are no mistake: Kubernetes sets `DEBBIE_PORT` and the like beside a service `debbie`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from debbie_otel.app.config_errors import complaint
from debbie_otel.app.presets import PROFILES, Profile, ProfileName
from debbie_otel.detection.settings import (
    CONTROL,
    CONTROL_METRICS,
    SEVERITIES,
    DetectionSettings,
    RuleSettings,
)
from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.settings import InterventionConfig, StrategyName

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
_CAPTURE_KEY = ("telemetry", "capture_content")
_CAPTURING = frozenset({"true", "1", "yes", "on", "span_only", "span_and_event"})
"""What that variable may say to have content on spans; whatever else keeps it off."""


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


class TelemetryConfig(_Section, frozen=True, kw_only=True):
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

    paths: tuple[Path, ...] = ()


class Config(_Section, frozen=True, kw_only=True):
    """Everything that can be set."""

    proxy: ProxyConfig = msgspec.field(default_factory=ProxyConfig)
    telemetry: TelemetryConfig = msgspec.field(default_factory=TelemetryConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    dialects: DialectsConfig = msgspec.field(default_factory=DialectsConfig)
    detection: DetectionSettings = msgspec.field(default_factory=DetectionSettings)
    rules: tuple[RuleSettings, ...] = ()
    interventions: InterventionConfig = msgspec.field(default_factory=InterventionConfig)

    @property
    def profile(self) -> Profile:
        """The numbers behind `proxy.profile`."""
        return PROFILES[self.proxy.profile]


def load_config(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Read and merge the configuration.

    Args:
        path: A TOML file; paths in it are relative to it.
        environ: Variables.
        flags: Values from the command line, by section and key.

    Raises:
        ConfigurationError: File, variable or flag, key, and what was expected.

    """
    document = {} if path is None else read_document(path)
    config = Config() if path is None else _from_file(path, document)
    return _completed(config, document, environ or {}, flags or {})


def config_of(document: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration that a program gives in the form of the TOML file's.

    Args:
        document: Sections by name, as tables or as the structs here, and `rules`. What a table
            does not say comes from the profile.
        environ: Variables; they count where the document says nothing.

    Raises:
        ConfigurationError: Key or variable, and what was expected.

    """
    given: dict[str, Any] = msgspec.to_builtins(dict(document), enc_hook=str)  # paths
    config = _checked(given, lambda key: key or "the configuration")
    said = {
        variable
        for variable, (section, key) in (*ENVIRONMENT.items(), (CAPTURE_CONTENT, _CAPTURE_KEY))
        if key in given.get(section, {})
    }
    left = {name: value for name, value in (environ or {}).items() if name not in said}
    return _completed(config, given, left, {})


def _completed(
    config: Config,
    document: Mapping[str, Any],
    environ: Mapping[str, str],
    flags: Mapping[str, Mapping[str, Any]],
) -> Config:
    for where, section, key, value in _overrides(environ, flags):
        config = _override(config, where, section, key, value)
    return with_profile(config, document)


def with_profile(config: Config, document: Mapping[str, Any] | None = None) -> Config:
    """Take from the profile what the file leaves open.

    Args:
        config: What was set, and the name of the profile.
        document: What the file says.

    """
    profile = config.profile
    given: Mapping[str, Any] = (document or {}).get("detection", {})
    acting: Mapping[str, Any] = (document or {}).get("interventions", {})
    numbers: dict[str, Any] = {
        "check_interval": profile.check_interval,
        "stall_threshold": profile.stall_threshold,
        "slow_factor": profile.response_time_factor,
        "response_window": profile.response_window,
        "error_rate": profile.error_rate,
        "memory_factor": profile.memory_factor,
    }
    if "repetitions" not in given.get("loops", {}):
        loops = msgspec.structs.replace(config.detection.loops, repetitions=profile.tool_loop)
        numbers["loops"] = loops
    left = {name: value for name, value in numbers.items() if name == "loops" or name not in given}
    policy = {
        "auto_continue": profile.intervene,
        "max_interventions_per_session": profile.max_interventions,
        "max_retries": profile.max_retries,
        "retry_delay": profile.retry_delay,
        "escalation_threshold": profile.escalation_threshold,
    }
    unset = {name: value for name, value in policy.items() if name not in acting}
    return msgspec.structs.replace(
        config,
        detection=msgspec.structs.replace(config.detection, **left),
        interventions=msgspec.structs.replace(config.interventions, **unset),
    )


def _override(config: Config, where: str, section: str, key: str, value: Any) -> Config:
    given = getattr(_decode({section: {key: value}}, lambda _: where), section)
    changed = msgspec.structs.replace(getattr(config, section), **{key: getattr(given, key)})
    return msgspec.structs.replace(config, **{section: changed})


def read_document(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigurationError: It cannot be read, or is none.

    """
    try:
        document: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(str(path), f"cannot be read: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"no valid TOML: {error}") from None
    return document


def _from_file(path: Path, document: dict[str, Any]) -> Config:
    config = _checked(document, lambda key: f"{path}: {key}" if key else str(path))
    return msgspec.structs.replace(
        config,
        proxy=_anchored(config.proxy, path.parent),
        telemetry=_anchored(config.telemetry, path.parent),
        dialects=_anchored(config.dialects, path.parent),
        interventions=_anchored_interventions(config.interventions, path.parent),
    )


def _checked(document: dict[str, Any], where: Callable[[str], str]) -> Config:
    config = _decode(document, where)
    for number, rule in enumerate(config.rules):
        _check_rule(rule, where(f"rules[{number}]"))
    _check_alert_types(config, where)
    try:
        re.compile(config.detection.long_commands)
    except re.error as error:
        key = where("detection.long_commands")
        raise ConfigurationError(key, f"no regular expression: {error}") from None
    return config


def _check_alert_types(config: Config, where: Callable[[str], str]) -> None:
    """Refuse settings for alerts that nothing raises: a misspelt one would do nothing."""
    known = [*SEVERITIES, *(rule.name for rule in config.rules)]
    acting = config.interventions
    tables: dict[str, tuple[Mapping[str, object], list[str]]] = {
        "detection.pending": (config.detection.pending, known),
        "interventions.alert_strategy_map": (acting.alert_strategy_map, known),
        "interventions.prompts": (acting.prompts, [*known, "state_reset", "tool_retry", "*"]),
        "interventions.scripts.by_alert": (acting.scripts.by_alert, [*known, "*"]),
    }
    for table, (given, types) in tables.items():
        for name in given:
            if name not in types:
                close = difflib.get_close_matches(name, types, n=1)
                hint = f"did you mean {close[0]}?" if close else "known: " + ", ".join(types)
                raise ConfigurationError(where(f"{table}.{name}"), "unknown alert type", hint)


class _RuleStrategies(msgspec.Struct):
    """What a rule may name; detection itself knows nothing of strategies."""

    strategies: tuple[StrategyName, ...]


def _check_rule(rule: RuleSettings, where: str) -> None:
    if (rule.above is None) == (rule.below is None):
        raise ConfigurationError(where, "wants either above or below")
    document = {"strategies": list(rule.strategies)}
    try:
        msgspec.convert(document, _RuleStrategies)
    except msgspec.ValidationError as error:
        place = f"{where}."
        raise complaint(str(error), document, lambda key: place + key, _RuleStrategies) from None
    if re.fullmatch(r"[A-Za-z][\w./-]{0,254}", rule.metric) is None:
        what = f"{rule.metric!r} is no name of an OpenTelemetry instrument"
        raise ConfigurationError(f"{where}.metric", what)
    known = [CONTROL + name for name in CONTROL_METRICS]
    if rule.metric.startswith(CONTROL) and rule.metric not in known:
        close = difflib.get_close_matches(rule.metric, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "known: " + ", ".join(known)
        raise ConfigurationError(f"{where}.metric", f"unknown control metric {rule.metric}", hint)


def _overrides(
    environ: Mapping[str, str], flags: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str, str, Any]]:
    """Return what overrides the file: name of its source, section, key and value."""
    found: list[tuple[str, str, str, Any]] = [
        (variable, section, key, environ[variable])
        for variable, (section, key) in ENVIRONMENT.items()
        if environ.get(variable)
    ]
    if captured := environ.get(CAPTURE_CONTENT, "").strip().lower():
        found.append((CAPTURE_CONTENT, *_CAPTURE_KEY, captured in _CAPTURING))
    found += [
        ("--" + key.replace("_", "-"), section, key, value)
        for section, values in flags.items()
        for key, value in values.items()
    ]
    return found


def _decode(document: dict[str, Any], where: Callable[[str], str]) -> Config:
    """Check and decode; `where` says how a key of this source is called."""
    try:
        return msgspec.convert(document, Config, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise complaint(str(error), document, where, Config) from None


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, Path):
        return value
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("Expected `path`")  # msgspec adds where


_AnySection = TypeVar("_AnySection", bound=msgspec.Struct)


def _anchored(section: _AnySection, folder: Path) -> _AnySection:
    """Take the paths in a file as relative to that file."""
    changed: dict[str, Any] = {}
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, tuple):
            changed[name] = tuple(folder / path for path in value)
    return msgspec.structs.replace(section, **changed)


def _anchored_interventions(config: InterventionConfig, folder: Path) -> InterventionConfig:
    return msgspec.structs.replace(
        config,
        scripts=_anchored(config.scripts, folder),
        history=_anchored(config.history, folder),
    )
