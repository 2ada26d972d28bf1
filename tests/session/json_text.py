"""JSON values and the many ways to write them down."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON value, without NaN, which equals nothing."""

_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t", "\b": "\\b"}


def spelt(value: Any, chance: random.Random) -> str:
    """Return JSON text of a value, with spaces and escapes by chance.

    A list of pairs in `Members` is an object whose members keep their order and may occur twice.
    """
    if isinstance(value, Members):
        return _joined("{}", [_member(name, text, chance) for name, text in value.pairs], chance)
    if isinstance(value, Text):
        return value.text
    if isinstance(value, str):
        return '"' + "".join(_character(c, chance) for c in value) + '"'
    if isinstance(value, dict):
        return _joined("{}", [_member(*item, chance) for item in value.items()], chance)
    if isinstance(value, list):
        return _joined("[]", [spelt(entry, chance) for entry in value], chance)
    return json.dumps(value)


class Members:
    """An object as its members are written: in this order, some perhaps twice."""

    def __init__(self, *pairs: tuple[str, Any]) -> None:
        self.pairs = pairs


class Text:
    """A value that is written just so."""

    def __init__(self, text: str) -> None:
        self.text = text


def _member(name: str, value: Any, chance: random.Random) -> str:
    return f"{spelt(name, chance)}{_space(chance)}:{_space(chance)}{spelt(value, chance)}"


def _joined(brackets: str, parts: list[str], chance: random.Random) -> str:
    inner = ",".join(f"{_space(chance)}{part}{_space(chance)}" for part in parts)
    return f"{brackets[0]}{inner or _space(chance)}{brackets[1]}"


def _space(chance: random.Random) -> str:
    return chance.choice(["", "", "", " ", "\n\t", "\r\n  "])


def _character(character: str, chance: random.Random) -> str:
    point = ord(character)
    if 0xD800 <= point < 0xE000 or chance.random() < 0.2:
        return "".join(f"\\u{unit:04x}" for unit in _utf16(character))
    if character in _SHORT and (character != "/" or chance.random() < 0.5):
        return _SHORT[character]
    return f"\\u{point:04x}" if point < 0x20 else character


def _utf16(character: str) -> list[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
