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
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from debbie_otel.core.loops import LoopSettings
from debbie_otel.detection.control import METRICS, PREFIX
from debbie_otel.detection.rules import RuleSettings
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.errors import ConfigurationError

ProfileName = Literal["default", "aggressive", "passive"]
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
_CAPTURING = frozenset({"true", "1", "yes", "on", "span_only", "span_and_event"})
"""What that variable may say to have content on spans; whatever else keeps it off."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How eagerly Debbie detects and intervenes.

    Attributes:
        check_interval: Seconds between two looks at a session.
        stall_threshold: Seconds of silence after which a session that owes something has stalled.
        intervene: Whether she acts by herself.
        max_interventions: For each session.
        max_retries: Of one strategy.
        retry_delay: Seconds before a strategy is tried again.
        escalation_threshold: Failed interventions after which a person is called.
        response_time_factor: Response time that is slow, in terms of its baseline.
        error_rate: Share of failed calls that is high, 0 to 1.
        tool_loop: Repetitions of a tool call that are a loop.
        memory_factor: Memory that is a spike, in terms of its baseline.
        response_window: Response times that make the baseline.

    """

    check_interval: float = 5.0
    stall_threshold: float = 30.0
    intervene: bool = True
    max_interventions: int = 10
    max_retries: int = 3
    retry_delay: float = 2.0
    escalation_threshold: int = 3
    response_time_factor: float = 2.0
    error_rate: float = 0.2
    tool_loop: int = 5
    memory_factor: float = 1.5
    response_window: int = 100


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "default": Profile(),
        "aggressive": Profile(
            check_interval=2.0,
            stall_threshold=15.0,
            max_interventions=20,
            max_retries=5,
            retry_delay=1.0,
            escalation_threshold=5,
        ),
        "passive": Profile(
            check_interval=10.0, stall_threshold=60.0, intervene=False, max_interventions=0
        ),
    }
)


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
    document = {} if path is None else _read(path)
    config = Config() if path is None else _from_file(path, document)
    for where, section, key, value in _overrides(environ or {}, flags or {}):
        config = _override(config, where, section, key, value)
    return _with_profile(config, document.get("detection", {}))


def _with_profile(config: Config, given: Mapping[str, Any]) -> Config:
    """Take from the profile what the file leaves open."""
    profile = config.profile
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
    return msgspec.structs.replace(
        config, detection=msgspec.structs.replace(config.detection, **left)
    )


def _override(config: Config, where: str, section: str, key: str, value: Any) -> Config:
    given = getattr(_decode({section: {key: value}}, lambda _: where), section)
    changed = msgspec.structs.replace(getattr(config, section), **{key: getattr(given, key)})
    return msgspec.structs.replace(config, **{section: changed})


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(str(path), f"cannot be read: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"no valid TOML: {error}") from None
    return document


def _from_file(path: Path, document: dict[str, Any]) -> Config:
    config = _decode(document, lambda key: f"{path}: {key}" if key else str(path))
    for number, rule in enumerate(config.rules):
        _check_rule(rule, f"{path}: rules[{number}]")
    return msgspec.structs.replace(
        config,
        proxy=_anchored(config.proxy, path.parent),
        telemetry=_anchored(config.telemetry, path.parent),
        dialects=_anchored(config.dialects, path.parent),
    )


def _check_rule(rule: RuleSettings, where: str) -> None:
    if (rule.above is None) == (rule.below is None):
        raise ConfigurationError(where, "wants either above or below")
    if re.fullmatch(r"[A-Za-z][\w./-]{0,254}", rule.metric) is None:
        what = f"{rule.metric!r} is no name of an OpenTelemetry instrument"
        raise ConfigurationError(f"{where}.metric", what)
    known = [PREFIX + name for name in METRICS]
    if rule.metric.startswith(PREFIX) and rule.metric not in known:
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
        found.append((CAPTURE_CONTENT, "telemetry", "capture_content", captured in _CAPTURING))
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
        raise _complaint(str(error), document, where) from None


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, Path):
        return value
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("Expected `path`")  # msgspec adds where


_AnySection = TypeVar("_AnySection", bound=_Section)


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


_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "object": "a table",
    "array": "a list",
    "path": "the path of a file",
}


def _complaint(
    error: str, document: dict[str, Any], where: Callable[[str], str]
) -> ConfigurationError:
    """Turn msgspec's words into ours: which key, what was expected, what may have been meant."""
    message, _, place = error.partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL)
    if unknown is not None:
        full = f"{key}.{unknown.group(1)}" if key else unknown.group(1)
        return ConfigurationError(where(full), "unknown key", _meant(key, unknown.group(1)))
    got = _shown(document, key)
    choices = _choices(key)
    if choices:
        return ConfigurationError(where(key), f"expected one of {', '.join(choices)}, got {got}")
    expected = message.partition(", got ")[0].removeprefix("Expected ")
    expected = re.sub(
        r"`(\w+)[^`]*`", lambda match: _WORDS.get(match.group(1), match.group(1)), expected
    )
    return ConfigurationError(where(key), f"expected {expected}, got {got}")


def _sections() -> dict[str, type[msgspec.Struct]]:
    """Return the tables of the file by name; those within others by their dotted name."""
    hints = get_type_hints(Config)
    return {
        **{name: hint for name, hint in hints.items() if hasattr(hint, "__struct_fields__")},
        "detection.loops": LoopSettings,
        "rules[...]": RuleSettings,
    }


def _meant(section: str, key: str) -> str:
    """Suggest what an unknown key may have been meant to be."""
    sections = _sections()
    section = re.sub(r"\[\d+\]", "[...]", section)
    if section in sections:
        known: list[str] = list(sections[section].__struct_encode_fields__)
    else:
        known = list(Config.__struct_fields__)
    if close := difflib.get_close_matches(key, known, n=1):
        return f"did you mean {close[0]}?"
    for name, kind in sections.items():
        if key in kind.__struct_fields__ and name in Config.__struct_fields__:
            return f"it belongs under [{name}]"
    return "known: " + ", ".join(known)


def _choices(key: str) -> tuple[str, ...]:
    """Return what a key can be, if that is one of a few words."""
    section, _, name = key.partition(".")
    kind = _sections().get(section)
    hint = None if kind is None else get_type_hints(kind).get(name)
    values = get_args(hint)
    return values if values and all(isinstance(value, str) for value in values) else ()


def _shown(document: Any, key: str) -> str:
    """Return the value of a dotted key as it was written, cut to a line."""
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", key):
        document = document[name] if name else document[int(index)]
    if isinstance(document, bool):
        return str(document).lower()
    text = repr(document)
    return text if len(text) <= 60 else text[:57] + "..."
