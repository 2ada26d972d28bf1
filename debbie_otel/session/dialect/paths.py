"""Paths into a message, and conditions on what is there, as dialects write them.

A path leads from the envelope: `params.update.toolCallId`, `result.tool_calls`,
`params.input.0.text`; a rule on a response may also name the `params` of its request. Where a field
takes several paths, the first that leads to a value counts.

A condition (`when`, and in `detect`) maps paths to a value, a list of values, or one of the words
$null $absent $present $empty $nonempty $true $integer $string.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from debbie_otel.session.edit import raw_value, top_level_members
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, id_of, loads

Paths = str | list[str]
Condition = dict[str, Any]


class Fields:
    """Lazy access by path to one message, or to a response and its request."""

    __slots__ = ("_decoded", "_message", "_request_params")

    def __init__(
        self, message: InterceptedMessage, request_params: msgspec.Raw | None = None
    ) -> None:
        self._message = message
        self._request_params = request_params
        self._decoded: dict[str, Any] = {}

    def first(self, paths: Paths) -> Any:
        """Return the first value that is there and not null; else None."""
        if isinstance(paths, str):
            return self.get(paths, None)
        for path in paths:
            value = self.get(path, None)
            if value is not None:
                return value
        return None

    def text(self, paths: Paths) -> str | None:
        """Return the first value as text if it is a string or a number; else None."""
        return as_text(self.first(paths))

    def request_id(self, paths: Paths) -> JsonRpcId:
        """Return the first value that is there and not null as the id of a request."""
        value = self.first(paths)
        if (isinstance(value, int | str) and not isinstance(value, bool)) or value is None:
            found: JsonRpcId = value
            return found
        for path in as_list(paths):  # no double has all its digits
            raw = raw_value(self._message.payload, path)
            if raw is not None and raw != b"null":
                return id_of(raw)
        return None

    def gather(self, paths: Paths | dict[str, str]) -> Any:
        """Return a value, or for a table of paths an object of those that are there."""
        if isinstance(paths, dict):
            found = {name: self.get(path, None) for name, path in paths.items()}
            return {name: value for name, value in found.items() if value is not None} or None
        return self.first(paths)

    def get(self, path: str, missing: Any) -> Any:
        """Return the value at `path`, `missing` where it leads nowhere."""
        member, keys = _member_and_keys(path)
        if member not in self._decoded:
            self._decoded[member] = self._decode(member)
        return _follow(keys, self._decoded[member], missing)

    def holds(self, conditions: Condition) -> bool:
        """Tell whether every condition is met."""
        for path, wanted in conditions.items():
            value = self.get(path, msgspec.UNSET)
            if isinstance(wanted, str) and wanted.startswith("$"):
                if not CONDITION_WORDS[wanted](value):
                    return False
            elif isinstance(wanted, list):
                if value not in wanted:
                    return False
            elif value != wanted:
                return False
        return True

    def _decode(self, member: str) -> Any:
        message = self._message
        if member in _BODIES:
            raw = getattr(message, member)
            if raw is None and member == "params":
                raw = self._request_params
        else:
            try:
                raw = _decode_members(message.payload).get(member)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raw = dict(top_level_members(message.payload)).get(member)
        return msgspec.UNSET if raw is None else loads(raw)


_BODIES = frozenset({"params", "result", "error"})
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

CONDITION_WORDS = {
    "$null": lambda value: value is None,
    "$absent": lambda value: value is msgspec.UNSET,
    "$present": lambda value: value is not msgspec.UNSET and value is not None,
    "$empty": lambda value: value in ("", [], {}),
    "$nonempty": lambda value: value not in ("", [], {}, None, msgspec.UNSET),
    "$true": lambda value: value is True,
    "$integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "$string": lambda value: isinstance(value, str),
}
"""What each word of a condition means for a value."""


def value_at(value: Any, path: str, missing: Any = None) -> Any:
    """Follow a dotted path through objects and arrays."""
    return _follow(_keys(path), value, missing)


def first_at(value: Any, paths: Paths) -> Any:
    """Return the first value on the paths that is there and not null; else None."""
    for path in as_list(paths):
        found = value_at(value, path)
        if found is not None:
            return found
    return None


def gather_at(value: Any, paths: Paths | dict[str, str]) -> Any:
    """Return a value, or for a table of paths an object of all of them."""
    if isinstance(paths, dict):
        return {name: value_at(value, path) for name, path in paths.items()}
    return first_at(value, paths)


def as_list(paths: Paths) -> list[str]:
    """Return the paths of a field that takes one or several."""
    return [paths] if isinstance(paths, str) else paths


# The paths are those of dialects: few, and every message is asked for several.
@lru_cache(maxsize=1024)
def _keys(path: str) -> tuple[str, ...]:
    return tuple(path.split(".")) if path else ()


@lru_cache(maxsize=1024)
def _member_and_keys(path: str) -> tuple[str, tuple[str, ...]]:
    member, _, rest = path.partition(".")
    return member, _keys(rest)


def _follow(keys: tuple[str, ...], value: Any, missing: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            if key not in value:
                return missing
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return missing
    return missing if value is msgspec.UNSET else value


def params_at(params: msgspec.Raw | None, paths: Paths) -> Any:
    """Return the first value of a request's `params` that is there and not null; else None."""
    value = None if params is None else loads(params)
    return first_at({"params": value}, paths)


def as_text(value: Any) -> str | None:
    """Return an id or a name as text: strings as they are, numbers in digits, else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None
