"""JSON-RPC messages as they are seen on the wire.

`parse_payload` is total: whatever the bytes, it returns messages and never raises. What is no
JSON-RPC is a message of type `MessageType.UNKNOWN`.

Source: JSON-RPC 2.0 specification, sections 4 (request), 5 (response) and 6 (batch). Departures
that real servers make are accepted: no `jsonrpc` member, an `error` that is a string, a null id.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any

import msgspec

from debbie_otel.wire.direction import MessageDirection

JsonRpcId = int | float | str | None

_NO_ID = msgspec.UNSET


class MessageType(StrEnum):
    """What a message is, by its members alone."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    ERROR = "error"
    UNKNOWN = "unknown"

    # An enum's own hash is computed in Python; these are dictionary keys on the hot path.
    __hash__ = str.__hash__


# Module names: in Python 3.11 a member costs 0.1 µs through its enum, and these are the hot path.
_REQUEST, _NOTIFICATION = MessageType.REQUEST, MessageType.NOTIFICATION
_RESPONSE = MessageType.RESPONSE


class RpcError(msgspec.Struct, frozen=True, gc=False):
    """The `error` member of a response; `code` is None where it is not the specified object."""

    code: int | None
    message: str


class InterceptedMessage(msgspec.Struct, gc=False):
    """One JSON-RPC message.

    Attributes:
        direction: Who sent it.
        type: What it is.
        id: The id of a request or response; `msgspec.UNSET` where there is none. An id of a
            forbidden type (boolean, array, object) is its JSON text behind a NUL, so that it
            can collide with no real id.
        method: Name of a request or notification, else None.
        params: Raw JSON of `params`, `result` or `error`; empty where absent.
        result: As params.
        error: As params.
        size: Bytes of the message's payload (of its share, in a batch), after decompression.
        time_ns: When it was seen, nanoseconds since the epoch.
        payload: The bytes of the whole WebSocket message that it came in.
        versioned: Whether it has a `jsonrpc` member.

    """

    direction: MessageDirection
    type: MessageType
    time_ns: int
    size: int
    payload: bytes
    id: JsonRpcId | msgspec.UnsetType = _NO_ID
    method: str | None = None
    params: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    error: msgspec.Raw | None = None
    versioned: bool = False

    def decoded(self, member: str) -> Any:
        """Decode `params`, `result` or `error`; None where absent or no valid JSON."""
        raw: msgspec.Raw | None = getattr(self, member)
        if raw is None:
            return None
        value = loads(raw)
        if value is None and len(self.payload) >= _BIG:  # see _parse_big: more members followed
            try:
                raw = getattr(_decode_envelope(self.payload), member)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
            value = None if raw is _NO_ID else loads(raw)
        return value

    def rpc_error(self) -> RpcError:
        """Decode the `error` member, also in the malformed shapes that servers send."""
        value = self.decoded("error")
        if isinstance(value, dict):
            code, text = value.get("code"), value.get("message")
            return RpcError(
                code if isinstance(code, int) and not isinstance(code, bool) else None,
                text if isinstance(text, str) else "",
            )
        return RpcError(None, value if isinstance(value, str) else "")


class _Envelope(msgspec.Struct, gc=False):
    id: int | float | str | msgspec.UnsetType | None = _NO_ID
    method: str | None = None
    params: msgspec.Raw | msgspec.UnsetType = _NO_ID
    result: msgspec.Raw | msgspec.UnsetType = _NO_ID
    error: msgspec.Raw | msgspec.UnsetType = _NO_ID
    jsonrpc: msgspec.Raw | msgspec.UnsetType = _NO_ID


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_NULL = msgspec.Raw(b"null")


def loads(raw: bytes | msgspec.Raw) -> Any:
    """Decode JSON, strictly first, then as Python's own parser takes it; None if neither can."""
    try:
        return _decode_any(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return None


_BIG = 2048
_BRACE = ord("}")
_HEAD = re.compile(
    rb"""\s*\{\s*(?P<versioned>"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?
    "id"\s*:\s*(?P<id>\d{1,15}|"[^"\\\x00-\x1f\x80-\xff]{0,64}")\s*,\s*
    (?P<later>"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?
    (?:"method"\s*:\s*"(?P<method>[^"\\\x00-\x1f\x80-\xff]{1,128})"\s*,\s*"params"\s*:\s*(?=[{\[])
    |"result"\s*:\s*(?=[{\["]))""",
    re.VERBOSE,
)
# Where the id comes last, as some libraries write it. The brace that ends the message is that of
# its outermost object, so that what stands right before it is a member of that.
_HEAD_WITHOUT_ID = re.compile(
    rb"""\s*\{\s*(?P<versioned>"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?
    (?:"method"\s*:\s*"(?P<method>[^"\\\x00-\x1f\x80-\xff]{1,128})"\s*,\s*"params"\s*:\s*(?=[{\[])
    |"result"\s*:\s*(?=[{\["]))""",
    re.VERBOSE,
)
_TAIL_WITH_ID = re.compile(
    rb"""[}\]"]\s*(?P<versioned>,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?
    ,\s*"id"\s*:\s*(?P<id>\d{1,15}|"[^"\\\x00-\x1f\x80-\xff]{0,64}")\s*
    (?P<later>,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z""",
    re.VERBOSE,
)


def _parse_big(
    payload: bytes, direction: MessageDirection, time_ns: int
) -> InterceptedMessage | None:
    """Read a big request or response by its first members alone; None if they do not tell.

    Decoding it all would cost more than everything else that is done to it. What follows the head
    is taken at its word: nothing that could change what the message is comes after the id.
    """
    head = _HEAD.match(payload)
    if head is None:
        return None
    end = len(payload) - 1
    if payload[end] != _BRACE:
        end = len(payload.rstrip()) - 1
        if payload[end] != _BRACE:
            return None
    versioned, identifier, later, method = head.groups()
    body = msgspec.Raw(memoryview(payload)[head.end() : end])  # no copy
    return InterceptedMessage(
        direction,
        MessageType.RESPONSE if method is None else MessageType.REQUEST,
        time_ns,
        len(payload),
        payload,
        _decode_any(identifier),
        None if method is None else method.decode(),
        None if method is None else body,
        body if method is None else None,
        None,
        (versioned or later) is not None,
    )


def parse_head(
    head: bytes, size: int, direction: MessageDirection, time_ns: int, tail: bytes = b""
) -> InterceptedMessage | None:
    """Read a message of which only the ends were kept; None if they do not tell enough.

    Its `params` and `result` are absent, though the message has them.
    """
    found = _HEAD.match(head)
    identified = found
    if found is None:
        found, identified = _HEAD_WITHOUT_ID.match(head), _TAIL_WITH_ID.search(tail)
    if found is None or identified is None:
        return None
    method = found["method"]
    return InterceptedMessage(
        direction,
        MessageType.RESPONSE if method is None else MessageType.REQUEST,
        time_ns,
        size,
        head,
        _decode_any(identified["id"]),
        None if method is None else method.decode(),
        versioned=any((found["versioned"], identified["versioned"], identified["later"])),
    )


def parse_payload(
    payload: bytes, direction: MessageDirection, time_ns: int
) -> list[InterceptedMessage]:
    """Return the messages in one WebSocket message: one, or one per entry of a batch.

    Args:
        payload: The whole message, defragmented and decompressed.
        direction: Who sent it.
        time_ns: When, nanoseconds since the epoch.

    """
    if len(payload) >= _BIG:
        message = _parse_big(payload, direction, time_ns)
        if message is not None:
            return [message]
    try:
        envelope = _decode_envelope(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_unusual(payload, direction, time_ns)
    return [_message(envelope, payload, len(payload), direction, time_ns)]


def _message(
    envelope: _Envelope,
    payload: bytes,
    size: int,
    direction: MessageDirection,
    time_ns: int,
) -> InterceptedMessage:
    params, result, error = envelope.params, envelope.result, envelope.error
    method = envelope.method
    if method is not None:
        kind = _NOTIFICATION if envelope.id is _NO_ID else _REQUEST
    elif error is not _NO_ID and error != _NULL:
        kind = MessageType.ERROR
    elif result is not _NO_ID:
        kind = _RESPONSE
    else:
        kind = MessageType.UNKNOWN
    return InterceptedMessage(
        direction,
        kind,
        time_ns,
        size,
        payload,
        envelope.id,
        method,
        None if params is _NO_ID else params,
        None if result is _NO_ID else result,
        None if error is _NO_ID else error,
        envelope.jsonrpc is not _NO_ID,
    )


def _parse_unusual(
    payload: bytes, direction: MessageDirection, time_ns: int
) -> list[InterceptedMessage]:
    """Parse batches, envelopes with members of odd types, and JSON that only Python accepts."""
    value: Any
    try:
        value = _decode_batch(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = loads(payload)
    entries = value if isinstance(value, list) and value else [value]
    messages = []
    for entry in entries:
        if isinstance(entry, msgspec.Raw):
            size = len(bytes(entry))
            try:
                envelope = _decode_envelope(entry)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                envelope = _odd_envelope(loads(entry))
        else:
            size = len(payload) // len(entries)
            envelope = _odd_envelope(entry)
        messages.append(_message(envelope, payload, size, direction, time_ns))
    return messages


def _odd_envelope(value: Any) -> _Envelope:
    if not isinstance(value, dict):
        return _Envelope()
    envelope = _Envelope(jsonrpc=_NULL if "jsonrpc" in value else _NO_ID)
    method = value.get("method")
    if method is not None and not isinstance(method, str):
        return envelope  # neither a call nor an answer that anyone could match
    envelope.method = None if method is None else _encodable(method)
    if "id" in value:
        identifier = value["id"]
        if isinstance(identifier, str):
            identifier = _encodable(identifier)
        elif isinstance(identifier, bool) or not isinstance(identifier, int | float | None):
            identifier = "\0" + json.dumps(identifier)
        envelope.id = identifier
    for member in ("params", "result", "error"):
        if member in value:
            setattr(envelope, member, msgspec.Raw(json.dumps(value[member]).encode()))
    return envelope


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can hold and UTF-8 (so OTLP) cannot."""
    return text.encode("utf-8", "replace").decode()
