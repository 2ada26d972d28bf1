"""Sources of the configuration: defaults < profile < TOML file < environment < flags.

`OTEL_*` variables are read by OpenTelemetry's SDK itself. Debbie's own are few: `DEBBIE_UPSTREAM`,
`DEBBIE_LISTEN`, `DEBBIE_DIALECT`, `DEBBIE_PROFILE`, `DEBBIE_DATA_DIR`. Content capture follows the
GenAI convention's `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`. Other variables that begin
with `DEBBIE_` are no mistake: Kubernetes sets `DEBBIE_PORT` and the like beside a service `debbie`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from debbie_otel.app.config.presets import PROFILES
from debbie_otel.app.config.sections import Config
from debbie_otel.app.config.validation import decode, decode_types
from debbie_otel.errors import ConfigurationError, DialectError
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.registry import Dialects, builtin_dialects

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

Flags = Mapping[str, Mapping[str, Any]]
"""Values from the command line, by section and key."""


class Sources:
    """What a configuration is read from: a file, variables, and flags.

    Args:
        path: A TOML file; paths in it are relative to it.
        environ: Variables.
        flags: Values from the command line.

    Attributes:
        config: What they say together.

    Raises:
        ConfigurationError: File, variable or flag, key, and what was expected.

    """

    def __init__(
        self,
        path: Path | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Flags | None = None,
    ) -> None:
        self._path = path
        self._environ = environ or {}
        self._flags = flags or {}
        self._document = {} if path is None else _read(path)
        config = Config() if path is None else _from_file(path, self._document)
        self.config = _completed(config, self._document, self._environ, self._flags)

    def blame(self, error: ConfigurationError) -> ConfigurationError:
        """Return an error about a setting with the name of the source that has set it.

        Parts that use a setting do not know where it came from; they call it by its flag, or by its
        key where there is no flag.
        """
        setting, _, value = error.where.partition(" ")
        origin = self._origin(setting)
        if origin == setting:
            return error
        where = f"{origin}: {value}" if value else origin
        return ConfigurationError(where, error.what, error.hint)

    def _origin(self, setting: str) -> str:
        section, key = _place(setting)
        if not section or key in self._flags.get(section, {}):
            return setting
        for variable, place in ENVIRONMENT.items():
            if place == (section, key) and self._environ.get(variable):
                return variable
        if self._path is None or key not in self._document.get(section, {}):
            return setting
        full = f"{section}.{key}" if setting.startswith("--") else setting
        return f"{self._path}: {full}"


def load_config(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Flags | None = None,
) -> Config:
    """Read and merge the configuration; see `Sources`."""
    return Sources(path, environ, flags).config


def config_of(document: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration that a program gives in the form of the TOML file's.

    Args:
        document: Sections by name, as tables or as their structs, and `rules`. What a table does
            not say comes from the profile.
        environ: Variables; they count where the document says nothing.

    Raises:
        ConfigurationError: Key or variable, and what was expected.

    """
    given: dict[str, Any] = msgspec.to_builtins(dict(document), enc_hook=str)  # paths
    config = decode(given, lambda key: key or "the configuration")
    said = {
        variable
        for variable, (section, key) in (*ENVIRONMENT.items(), (CAPTURE_CONTENT, _CAPTURE_KEY))
        if key in given.get(section, {})
    }
    left = {name: value for name, value in (environ or {}).items() if name not in said}
    return _completed(config, given, left, {})


def load_dialects(config: Config) -> Dialects:
    """Return the built-in dialects and the user's own, and which one to speak.

    Raises:
        ConfigurationError: A file cannot be read, or the dialect to speak is unknown.

    """
    known = builtin_dialects()
    for path in config.dialects.paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DialectError(str(path), f"cannot be read: {reason}") from None
        dialect = Dialect.from_toml(text, str(path))
        # The user's own come first, so that they are recognised before the built-in ones.
        known = {dialect.name: dialect} | {k: v for k, v in known.items() if k != dialect.name}
    chosen = config.proxy.dialect
    if chosen != "auto" and chosen not in known:
        raise ConfigurationError("--dialect", f"unknown: {chosen}", "auto, " + ", ".join(known))
    return Dialects(known, None if chosen == "auto" else chosen)


def _completed(
    config: Config, document: Mapping[str, Any], environ: Mapping[str, str], flags: Flags
) -> Config:
    """Put what overrides the document over it, and the profile below it."""
    for where, section, key, value in _overrides(environ, flags):
        given = _decoded(where, section, key, value)
        config = _replaced(config, section, {key: given})
    for section, values in PROFILES[config.proxy.profile].items():
        unset = {k: value for k, value in values.items() if k not in document.get(section, {})}
        config = _replaced(config, section, unset)
    detection = document.get("detection", {})
    if "stall_threshold" in detection and "silence" not in detection:
        config = _replaced(config, "detection", {"silence": None})  # it is meant for every silence
    return config


def _decoded(where: str, section: str, key: str, value: Any) -> Any:
    config = decode_types({section: {key: value}}, lambda _: where)
    return getattr(getattr(config, section), key)


def _replaced(config: Config, section: str, values: Mapping[str, Any]) -> Config:
    changed = msgspec.structs.replace(getattr(config, section), **values)
    return msgspec.structs.replace(config, **{section: changed})


def _overrides(environ: Mapping[str, str], flags: Flags) -> Iterator[tuple[str, str, str, Any]]:
    """Yield what overrides the file: name of its source, section, key and value."""
    for variable, (section, key) in ENVIRONMENT.items():
        if environ.get(variable):
            yield variable, section, key, environ[variable]
    if captured := environ.get(CAPTURE_CONTENT, "").strip().lower():
        yield CAPTURE_CONTENT, *_CAPTURE_KEY, captured in _CAPTURING
    for section, values in flags.items():
        for key, value in values.items():
            yield "--" + key.replace("_", "-"), section, key, value


def _place(setting: str) -> tuple[str, str]:
    """Return section and key of a setting, by its flag or its dotted key; empty if it is none."""
    if setting.startswith("--"):
        key = setting.removeprefix("--").replace("-", "_")
        sections = {"proxy": Config().proxy, "telemetry": Config().telemetry}
        found = [name for name, held in sections.items() if key in held.__struct_fields__]
        return (found[0], key) if found else ("", "")
    named = re.match(r"(\w+)\.(\w+)", setting)
    known = named is not None and named[1] in Config.__struct_fields__
    return (named[1], named[2]) if named is not None and known else ("", "")


# -- the file -------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(str(path), f"cannot be read: {reason}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"is not valid TOML: {error}") from None
    return document


def _from_file(path: Path, document: dict[str, Any]) -> Config:
    config = decode(document, lambda key: f"{path}: {key}" if key else str(path))
    return _anchored(config, path.parent)


_AnySection = TypeVar("_AnySection", bound=msgspec.Struct)


def _anchored(section: _AnySection, folder: Path) -> _AnySection:
    """Take the paths in a file as relative to that file."""
    changed: dict[str, Any] = {}
    for name, hint in get_type_hints(type(section)).items():
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            changed[name] = _anchored(value, folder)
        elif isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, tuple) and Path in get_args(hint):
            changed[name] = tuple(folder / path for path in value)
    return msgspec.structs.replace(section, **changed)
