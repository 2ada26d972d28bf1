"""Changes to a JSON-RPC message that leave all its other bytes as they are.

A message that is decoded and encoded anew is another one: numbers lose digits, members that occur
twice merge, and what only some parsers accept (NaN, a lone surrogate) is lost. So values are found
by their position in the text, and only their own bytes are replaced.

The text is expected to have been parsed, so it is not validated again; what is not JSON is left
alone. Where a member occurs twice, both are changed, as parsers differ in which of them counts.

Source: RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\n\r,\]}]++")
# As far as the next bracket that is not within a string.
_TO_BRACKET = re.compile(
    rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+([{}\[\]])', re.DOTALL
)
_OPENING = (b"{", b"[")

Span = tuple[int, int]
"""Where a value begins, and the index after it."""


class _NotJsonError(Exception):
    pass


def with_id(payload: bytes, raw_id: bytes | msgspec.Raw) -> bytes:
    """Return a message, not a batch, with another id.

    Args:
        payload: A message that has an id.
        raw_id: JSON text of the new one.

    Raises:
        LookupError: The message has no id.

    """
    spans = list(_find(payload, ("id",)))
    if not spans:
        raise LookupError("a message without an id")
    return _replaced(payload, [(span, bytes(raw_id)) for span in spans])


def rename_strings(payload: bytes, paths: Sequence[str], names: Mapping[str, str]) -> bytes:
    """Return a message, or a batch, with the strings at some paths replaced.

    Args:
        payload: A message; what is not JSON is returned as it is.
        paths: From the envelope, as dialects write them: `params.thread.id`, `params.list.0`.
        names: What is to be replaced, and by what. A string is known by its value, however JSON
            spells it.

    Returns:
        The very same payload if nothing changes.

    """
    if b"\\" not in payload and not any(_encode(name) in payload for name in names):
        return payload  # without a backslash a string has one spelling alone
    changes: dict[Span, bytes] = {}
    for start, end in _messages(payload):
        for path in paths:
            for span in _find(payload, path.split("."), start, end):
                name = _text(payload, span)
                if name is not None and (new := names.get(name)) is not None and new != name:
                    changes[span] = _encode(new)
    return _replaced(payload, sorted(changes.items())) if changes else payload


def change_string(value: bytes | msgspec.Raw, path: str, change: Callable[[str], str]) -> bytes:
    """Return a JSON value with the string at a path in it (`prompt.0.text`) changed.

    Raises:
        LookupError: There is no string at that path.

    """
    text = bytes(value)
    found = [(span, _text(text, span)) for span in _find(text, path.split("."))]
    changes = [(span, _encode(change(old))) for span, old in found if old is not None]
    if not changes:
        raise LookupError(path)
    return _replaced(text, changes)


def members_of_batch(payload: bytes) -> list[bytes]:
    """Return the messages in a batch, each with its own bytes; none if it is not a batch."""
    return [payload[start:end] for start, end in _batch(payload)]


def top_level_members(payload: bytes) -> list[tuple[str, bytes]]:
    """Return the members of an object in their order, each value with its own bytes."""
    return [(name, payload[start:end]) for name, (start, end) in _members(payload, 0)]


def raw_value(payload: bytes, path: str) -> bytes | None:
    """Return the text of the value at a path from the envelope; None where it leads nowhere."""
    for start, end in reversed(list(_find(payload, path.split(".")))):
        return payload[start:end]  # of a member that occurs twice, the last counts in parsing
    return None


def _encode(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:  # a lone surrogate, which JSON can hold and UTF-8 cannot
        return json.dumps(text).encode()


def _replaced(payload: bytes, changes: list[tuple[Span, bytes]]) -> bytes:
    pieces = []
    position = 0
    for (start, end), new in changes:
        pieces += [payload[position:start], new]
        position = end
    return b"".join([*pieces, payload[position:]])


def _text(payload: bytes, span: Span) -> str | None:
    """Return the value of a string; None of anything else."""
    if payload[span[0]] != 0x22:
        return None
    try:
        text = json.loads(payload[slice(*span)], strict=False)
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def _messages(payload: bytes) -> list[Span]:
    return list(_batch(payload)) or [(0, len(payload))]


def _batch(payload: bytes) -> list[Span]:
    try:
        return [span for _, span in _children(payload, 0, b"[")]
    except _NotJsonError:
        return []


def _members(payload: bytes, start: int) -> list[tuple[str, Span]]:
    try:
        return list(_children(payload, start, b"{"))
    except _NotJsonError:
        return []


def _find(
    payload: bytes, keys: Sequence[str], start: int = 0, end: int | None = None
) -> Iterator[Span]:
    """Yield the places of the values that a path leads to: one, unless a member occurs twice."""
    start = _skip_space(payload, start)
    if not keys:
        yield start, _end_of_value(payload, start) if end is None else end
        return
    try:
        children = list(_children(payload, start, payload[start : start + 1]))
    except _NotJsonError:
        return
    for name, (first, after) in children:
        if name == keys[0]:
            yield from _find(payload, keys[1:], first, after)


def _children(payload: bytes, start: int, opening: bytes) -> Iterator[tuple[str, Span]]:
    """Yield the members of the object, or the elements of the array, that begins at `start`.

    Elements are named by their number, as in the paths of dialects.
    """
    position = _skip_space(payload, start)
    if payload[position : position + 1] != opening or opening not in _OPENING:
        raise _NotJsonError
    closing = b"}" if opening == b"{" else b"]"
    position = _skip_space(payload, position + 1)
    if payload[position : position + 1] == closing:
        return
    number = 0
    while True:
        name = str(number)
        if opening == b"{":
            after = _end_of_string(payload, position)
            found = _text(payload, (position, after))
            if found is None:
                raise _NotJsonError
            name = found
            position = _skip_space(payload, after)
            if payload[position : position + 1] != b":":
                raise _NotJsonError
            position = _skip_space(payload, position + 1)
        after = _end_of_value(payload, position)
        yield name, (position, after)
        number += 1
        position = _skip_space(payload, after)
        mark = payload[position : position + 1]
        if mark == closing:
            return
        if mark != b",":
            raise _NotJsonError
        position = _skip_space(payload, position + 1)


def _skip_space(payload: bytes, position: int) -> int:
    match: Any = _SPACE.match(payload, position)
    end: int = match.end()
    return end


def _end_of_string(payload: bytes, start: int) -> int:
    match = _STRING.match(payload, start)
    if match is None:
        raise _NotJsonError
    return match.end()


def _end_of_value(payload: bytes, start: int) -> int:
    first = payload[start : start + 1]
    if first == b'"':
        return _end_of_string(payload, start)
    if first not in _OPENING:
        match = _SCALAR.match(payload, start)
        if match is None:
            raise _NotJsonError
        return match.end()
    depth, position = 0, start
    while True:
        match = _TO_BRACKET.match(payload, position)
        if match is None:
            raise _NotJsonError
        depth += 1 if match[1] in _OPENING else -1
        position = match.end()
        if not depth:
            return position
