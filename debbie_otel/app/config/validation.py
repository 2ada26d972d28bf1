"""Whether a configuration is valid, and if not, which key is wrong and what was expected.

msgspec judges each value; where one is wrong, and what could stand there, is found by the types of
the sections. What types cannot say is checked here too: names of alerts, rules, and files.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from debbie_otel.app.config.sections import Config
from debbie_otel.detection.settings import CONTROL, CONTROL_METRICS, SEVERITIES, RuleSettings
from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.intervention_config import StrategyName

Where = Callable[[str], str]
"""Says how a dotted key is called in the source that it was read from."""

_Kind = TypeVar("_Kind")
_EXPECTED = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    Path: "the path of a file",
    NoneType: "nothing",
}


def decode(document: Mapping[str, Any], where: Where) -> Config:
    """Check all that a document says.

    Raises:
        ConfigurationError: A key that is unknown, or a value that cannot be.

    """
    config = decode_types(document, where)
    for number, rule in enumerate(config.rules):
        _check_rule(rule, where(f"rules[{number}]"))
    _check_alert_types(config, where)
    try:
        re.compile(config.detection.long_commands)
    except re.error as error:
        key = where("detection.long_commands")
        raise ConfigurationError(key, f"is not a regular expression: {error}") from None
    return config


def decode_types(document: Mapping[str, Any], where: Where) -> Config:
    """Check what the types of the sections say; as `decode` otherwise."""
    try:
        return _convert(document, Config)
    except msgspec.ValidationError:
        raise _fault(document, Config, "", where) from None


def check_files(config: Config) -> None:
    """Refuse files and folders that would be missed only when something goes wrong with a session.

    Debbie does without those that become unusable later.

    Raises:
        ConfigurationError: Scripts without their folder, or a history that cannot be written.

    """
    scripts = config.interventions.scripts.directory
    if scripts is not None and not scripts.is_dir():
        where = "interventions.scripts.directory"
        raise ConfigurationError(where, f"{scripts} is not a directory")
    history = config.interventions.history.path
    if history is not None and not can_be_written(history):
        raise ConfigurationError("interventions.history.path", f"{history} cannot be written")


def can_be_written(file: Path) -> bool:
    """Tell without making it: one that is not there yet is judged by its folder."""
    if os.path.lexists(file):
        return file.is_file() and os.access(file, os.R_OK | os.W_OK)
    return holds_files(file.parent)


def holds_files(folder: Path) -> bool:
    """Tell without making it: a folder that is not there yet is judged by the nearest that is."""
    there = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path)
    )
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


# -- types ----------------------------------------------------------------------------------------


def _convert(value: Any, kind: type[_Kind]) -> _Kind:
    return msgspec.convert(value, kind, dec_hook=_path)


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, Path):
        return value
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError


def _fits(value: Any, kind: Any) -> bool:
    try:
        _convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _fault(value: Any, kind: Any, key: str, where: Where) -> ConfigurationError:
    """Return what is wrong with a value that does not fit: that of the innermost key."""
    plain, _ = _stripped(kind)
    if _is_section(plain) and isinstance(value, Mapping):
        fields = {field.encode_name: field for field in msgspec.structs.fields(plain)}
        hints = get_type_hints(plain, include_extras=True)
        for name, inner in value.items():
            place = f"{key}.{name}" if key else str(name)
            if name not in fields:
                return ConfigurationError(where(place), "unknown key", _meant(name, [*fields]))
            if not _fits(inner, hints[fields[name].name]):
                return _fault(inner, hints[fields[name].name], place, where)
        missing = [n for n, field in fields.items() if field.required and n not in value]
        return ConfigurationError(where(key), f"{' and '.join(missing)} must be set")
    kinds = get_args(plain)
    if get_origin(plain) is dict and isinstance(value, Mapping):
        for name, inner in value.items():
            if not _fits(inner, kinds[1]):
                return _fault(inner, kinds[1], f"{key}.{name}", where)
    elif get_origin(plain) is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value):
            if not _fits(inner, kinds[0]):
                return _fault(inner, kinds[0], f"{key}[{number}]", where)
    return ConfigurationError(where(key), f"expected {_expected(value, kind)}, got {_shown(value)}")


def _stripped(kind: Any) -> tuple[Any, Meta | None]:
    """Return a type without `| None`, and what its annotation says."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Annotated:
        plain, *notes = get_args(kind)
        return plain, next((note for note in notes if isinstance(note, Meta)), None)
    return kind, None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _expected(value: Any, kind: Any) -> str:
    plain, meta = _stripped(kind)
    if get_origin(plain) is Literal:
        return f"one of {', '.join(get_args(plain))}"
    if _is_section(plain) or get_origin(plain) is dict:
        return "a table"
    if get_origin(plain) is tuple:
        return "a list"
    if meta is not None and meta.description is not None:
        return meta.description
    bound = "" if meta is None or not _fits(value, plain) else _bound(value, plain, meta)
    return _EXPECTED[plain] + bound


def _bound(number: Any, kind: Callable[[Any], Any], meta: Meta) -> str:
    """Return the bound that a number does not keep to."""
    if meta.gt is not None and not number > meta.gt:
        return f" > {kind(meta.gt)}"
    if meta.ge is not None and not number >= meta.ge:
        return f" >= {kind(meta.ge)}"
    if meta.lt is not None and not number < meta.lt:
        return f" < {kind(meta.lt)}"
    return f" <= {kind(meta.le)}"


def _meant(key: str, known: list[str]) -> str:
    """Suggest what an unknown key may have been meant to be."""
    if close := difflib.get_close_matches(key, known, n=1):
        return f"did you mean {close[0]}?"
    for name, kind in _sections(Config).items():
        if key in kind.__struct_encode_fields__:
            return f"it belongs under [{name}]"
    return "known: " + ", ".join(known)


def _sections(root: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Return the tables of a document by dotted name."""
    found: dict[str, type[msgspec.Struct]] = {}
    for name, hint in get_type_hints(root).items():
        if _is_section(hint):
            found[name] = hint
            found |= {f"{name}.{inner}": table for inner, table in _sections(hint).items()}
    return found


def _shown(value: Any) -> str:
    """Return a value as it was written, cut to a line."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -- what types cannot say ------------------------------------------------------------------------


def _check_alert_types(config: Config, where: Where) -> None:
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
                place = where(f"{table}.{name}")
                raise ConfigurationError(place, "unknown alert type", _near(name, types))


def _check_rule(rule: RuleSettings, where: str) -> None:
    if (rule.above is None) == (rule.below is None):
        raise ConfigurationError(where, "wants either above or below")
    # Detection itself knows nothing of strategies.
    for number, strategy in enumerate(rule.strategies):
        if not _fits(strategy, StrategyName):
            raise _fault(strategy, StrategyName, f".strategies[{number}]", lambda k: where + k)
    if re.fullmatch(r"[A-Za-z][\w./-]{0,254}", rule.metric) is None:
        what = f"{rule.metric!r} is not a name of an OpenTelemetry instrument"
        raise ConfigurationError(f"{where}.metric", what)
    known = [CONTROL + name for name in CONTROL_METRICS]
    if rule.metric.startswith(CONTROL) and rule.metric not in known:
        what = f"unknown control metric {rule.metric}"
        raise ConfigurationError(f"{where}.metric", what, _near(rule.metric, known))


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "known: " + ", ".join(known)
