"""Complaints about a configuration: which key, what was expected, what may have been meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import msgspec

from debbie_otel.errors import ConfigurationError

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "object": "a table",
    "array": "a list",
    "path": "the path of a file",
}


def complaint(
    error: str,
    document: dict[str, Any],
    where: Callable[[str], str],
    root: type[msgspec.Struct],
) -> ConfigurationError:
    """Turn msgspec's words into ours: which key, what was expected, what may have been meant.

    Args:
        error: Text of a `msgspec.ValidationError`.
        document: What was read.
        where: Says how a key of this source is called.
        root: What the document should have been.

    """
    message, _, place = error.partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL)
    if unknown is not None:
        full = f"{key}.{unknown.group(1)}" if key else unknown.group(1)
        return ConfigurationError(where(full), "unknown key", _meant(key, unknown.group(1), root))
    wrong_name = re.fullmatch(r"Invalid enum value (.*)", message, re.DOTALL)
    got = _shown(document, key) if wrong_name is None else wrong_name.group(1)
    choices = _choices(key, root)
    if choices:
        return ConfigurationError(where(key), f"expected one of {', '.join(choices)}, got {got}")
    expected = message.partition(", got ")[0].removeprefix("Expected ")
    listed = re.search(r"matching regex '\^\((.*)\)\$'", message)
    if listed is not None:
        names = re.sub(r"custom:.*", "custom:NAME", ", ".join(listed.group(1).split("|")))
        return ConfigurationError(where(key), f"expected one of {names}, got {got}")
    expected = re.sub(
        r"`(\w+)[^`]*`", lambda match: _WORDS.get(match.group(1), match.group(1)), expected
    )
    return ConfigurationError(where(key), f"expected {expected}, got {got}")


def _sections(root: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Return the tables of a document by dotted name, lists of tables as `name[...]`."""
    found: dict[str, type[msgspec.Struct]] = {}
    for name, hint in get_type_hints(root).items():
        listed = next((kind for kind in get_args(hint) if hasattr(kind, "__struct_fields__")), None)
        kind, place = (hint, name) if listed is None else (listed, f"{name}[...]")
        if hasattr(kind, "__struct_fields__"):
            found[place] = kind
            found |= {f"{place}.{inner}": table for inner, table in _sections(kind).items()}
    return found


def _meant(section: str, key: str, root: type[msgspec.Struct]) -> str:
    """Suggest what an unknown key may have been meant to be."""
    sections = _sections(root)
    section = re.sub(r"\[\d+\]", "[...]", section)
    if section in sections:
        known: list[str] = list(sections[section].__struct_encode_fields__)
    else:
        known = list(root.__struct_fields__)
    if close := difflib.get_close_matches(key, known, n=1):
        return f"did you mean {close[0]}?"
    for name, kind in sections.items():
        if key in kind.__struct_fields__ and not name.endswith("]"):
            return f"it belongs under [{name}]"
    return "known: " + ", ".join(known)


def _choices(key: str, root: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return what a key can be, if that is one of a few words."""
    section, _, name = key.rpartition(".")
    kind = _sections(root).get(re.sub(r"\[\d+\]", "[...]", section))
    hint = None if kind is None else get_type_hints(kind).get(name)
    values = get_args(hint)
    return values if values and all(isinstance(value, str) for value in values) else ()


def _shown(document: Any, key: str) -> str:
    """Return the value of a dotted key as it was written, cut to a line."""
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", key.partition("[...]")[0]):
        # Where msgspec says [...] instead of a key, the whole table is shown.
        document = document[name] if name else document[int(index)]
    if isinstance(document, bool):
        return str(document).lower()
    text = repr(document)
    return text if len(text) <= 60 else text[:57] + "..."
