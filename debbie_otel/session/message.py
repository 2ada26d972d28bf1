"""JSON-RPC messages as they are seen on the wire.

`parse_payload` is total: whatever the bytes, it returns messages and never raises. What is not
JSON-RPC is a message of type `MessageType.UNKNOWN`.

Source: JSON-RPC 2.0 specification, sections 4 (request), 5 (response) and 6 (batch). Departures
that real servers make are accepted: no `jsonrpc` member, an `error` that is a string, a null id.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, DecimalException
from enum import StrEnum
from typing import Any

import msgspec

from debbie_otel.session.edit import members_of_batch, top_level_members
from debbie_otel.wire.direction import MessageDirection


class OddId(msgspec.Struct, frozen=True):
    """An id of a type that JSON-RPC forbids (boolean, array, object), or no valid Unicode."""

    text: str

    def __str__(self) -> str:
        return self.text


JsonRpcId = int | Decimal | str | OddId | None
"""What ids are compared by; how one is spelt is in `raw_id`.

Strings are equal by their value, numbers by their exact decimal value: 1, 1.0 and 1e0 are one id,
as some parsers know no other numbers than doubles, and a server may answer 1.0 to 1. No id passes
through a double itself: 0.1000000000000000055 is another one than 0.1. A string never equals a
number.
"""

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


class ErrorObject(msgspec.Struct, frozen=True, gc=False):
    """The `error` member of a response; `code` is None where it is not the specified object."""

    code: int | None
    message: str


class InterceptedMessage(msgspec.Struct, gc=False):
    """One JSON-RPC message.

    Attributes:
        direction: Who sent it.
        type: What it is.
        id: The id of a request or response, to be compared; `msgspec.UNSET` where there is none.
        method: Name of a request or notification, else None.
        params: Raw JSON of `params`, `result` or `error`; empty where absent.
        result: As params.
        error: As params.
        size: Bytes of the message, after decompression.
        time_ns: When it was seen, nanoseconds since the epoch.
        payload: Its bytes; of a member of a batch, only its own.
        versioned: Whether it has a `jsonrpc` member.
        raw_id: The id as it is spelt on the wire; None where there is none.

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
    raw_id: msgspec.Raw | None = None

    def decoded(self, member: str) -> Any:
        """Decode `params`, `result` or `error`; None where absent or no valid JSON."""
        raw: msgspec.Raw | None = getattr(self, member)
        return None if raw is None else loads(raw)

    def error_object(self) -> ErrorObject:
        """Decode the `error` member, also in the malformed shapes that servers send."""
        value = self.decoded("error")
        if isinstance(value, dict):
            code, text = value.get("code"), value.get("message")
            return ErrorObject(
                code if isinstance(code, int) and not isinstance(code, bool) else None,
                text if isinstance(text, str) else "",
            )
        return ErrorObject(None, value if isinstance(value, str) else "")


class _Envelope(msgspec.Struct, gc=False):
    id: msgspec.Raw | msgspec.UnsetType = _NO_ID
    method: str | None = None
    params: msgspec.Raw | msgspec.UnsetType = _NO_ID
    result: msgspec.Raw | msgspec.UnsetType = _NO_ID
    error: msgspec.Raw | msgspec.UnsetType = _NO_ID
    jsonrpc: msgspec.Raw | msgspec.UnsetType = _NO_ID


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_NULL = msgspec.Raw(b"null")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def loads(raw: bytes | msgspec.Raw) -> Any:
    """Decode JSON, strictly first, then as Python's own parser takes it; None if neither can."""
    try:
        return _decode_any(raw)
    except _UNREADABLE:
        pass
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return None


_decode_id = msgspec.json.Decoder(float_hook=Decimal).decode
_UNDECODED = object()
# Faster than `id_of` for what nearly all ids are.
_decode_plain_id = msgspec.json.Decoder(int | str).decode


def id_of(raw: bytes | msgspec.Raw) -> JsonRpcId:
    """Return the id that is spelt so, to be compared."""
    try:
        value = _decode_id(raw)
    except (*_UNREADABLE, DecimalException):
        value = _UNDECODED
    kind = type(value)
    if kind is int or kind is str or value is None or kind is Decimal:
        found: JsonRpcId = value
        return found
    return _odd_id(bytes(raw).decode("utf-8", "replace"))


def _odd_id(text: str) -> JsonRpcId:
    if text[-1:].isdigit():
        try:
            return Decimal(text)  # an integer of thousands of digits
        except DecimalException:
            return OddId(text)  # an exponent that no number can have
    value = loads(text.encode())
    return OddId(text if value is None else json.dumps(value))


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


def parse_head(
    head: bytes, size: int, direction: MessageDirection, time_ns: int, tail: bytes = b""
) -> InterceptedMessage | None:
    """Read a message of which only the ends were kept; None if they do not suffice.

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
        id_of(identified["id"]),
        None if method is None else method.decode(),
        versioned=any((found["versioned"], identified["versioned"], identified["later"])),
        raw_id=msgspec.Raw(identified["id"]),
    )


_BIG = 2048
"""Bytes from which on a message is read by its head, and the rest only where it is asked for."""


class _ReadByHead(InterceptedMessage, gc=False):
    """A big request or response, whose first members say what it is.

    To decode it costs more than all else that is done to it, and for most nothing more is asked.
    Its other members are then those of the whole message, in whatever order they come.
    """

    whole: InterceptedMessage | None = None

    @property  # type: ignore[misc]
    def params(self) -> msgspec.Raw | None:  # type: ignore[override]
        """As of any message."""
        return self._read().params

    @property  # type: ignore[misc]
    def result(self) -> msgspec.Raw | None:  # type: ignore[override]
        """As of any message."""
        return self._read().result

    @property  # type: ignore[misc]
    def error(self) -> msgspec.Raw | None:  # type: ignore[override]
        """As of any message."""
        return self._read().error

    def _read(self) -> InterceptedMessage:
        if self.whole is None:
            try:
                envelope = _decode_envelope(self.payload)
            except _UNREADABLE:
                (self.whole, *_) = _parse_unusual(self.payload, self.direction, self.time_ns)
            else:
                self.whole = _message(envelope, self.payload, self.direction, self.time_ns)
        return self.whole


def _parse_big(
    payload: bytes, direction: MessageDirection, time_ns: int
) -> InterceptedMessage | None:
    """Read a message by its head; None where that does not say what it is."""
    head = _HEAD.match(payload)
    if head is None or (head["versioned"] or head["later"]) is None:
        return None  # what is not versioned so far may be so in the end
    method, raw_id = head["method"], head["id"]
    return _ReadByHead(
        direction,
        _RESPONSE if method is None else _REQUEST,
        time_ns,
        len(payload),
        payload,
        _decode_plain_id(raw_id),
        None if method is None else method.decode(),
        versioned=True,
        raw_id=msgspec.Raw(raw_id),
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
    except _UNREADABLE:
        return _parse_unusual(payload, direction, time_ns)
    return [_message(envelope, payload, direction, time_ns)]


def _message(
    envelope: _Envelope, payload: bytes, direction: MessageDirection, time_ns: int
) -> InterceptedMessage:
    raw_id, params, result, error = envelope.id, envelope.params, envelope.result, envelope.error
    call_id: JsonRpcId | msgspec.UnsetType = _NO_ID
    if raw_id is not _NO_ID:
        try:
            call_id = _decode_plain_id(raw_id)
        except _UNREADABLE:
            call_id = id_of(raw_id)
    method = envelope.method
    if method is not None:
        kind = _NOTIFICATION if raw_id is _NO_ID else _REQUEST
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
        len(payload),
        payload,
        call_id,
        method,
        None if params is _NO_ID else params,
        None if result is _NO_ID else result,
        None if error is _NO_ID else error,
        envelope.jsonrpc is not _NO_ID,
        None if raw_id is _NO_ID else raw_id,
    )


def _parse_unusual(
    payload: bytes, direction: MessageDirection, time_ns: int
) -> list[InterceptedMessage]:
    """Parse batches, envelopes with members of odd types, and JSON that only Python accepts."""
    try:
        entries = [bytes(entry) for entry in _decode_batch(payload)]
    except _UNREADABLE:
        entries = members_of_batch(payload) if isinstance(loads(payload), list) else []
    messages = []
    for entry in entries or [_in_utf_8(payload)]:
        try:
            envelope = _decode_envelope(entry)
        except _UNREADABLE:
            envelope = _odd_envelope(entry)
        messages.append(_message(envelope, entry if entries else payload, direction, time_ns))
    return messages


def _in_utf_8(payload: bytes) -> bytes:
    """Return a message in the encoding of JSON, without a mark (RFC 8259 section 8.1)."""
    encoding = json.detect_encoding(payload)
    if encoding == "utf-8":
        return payload
    try:
        return payload.decode(encoding).encode()
    except ValueError:
        return payload


def _odd_envelope(payload: bytes) -> _Envelope:
    if not isinstance(loads(payload), dict):
        return _Envelope()
    members = {name: msgspec.Raw(value) for name, value in top_level_members(payload)}
    envelope = _Envelope(jsonrpc=members.get("jsonrpc", _NO_ID))
    method = loads(members.get("method", _NULL))
    if method is not None and not isinstance(method, str):
        return envelope  # neither a call nor an answer that anyone could match
    # Lone surrogates are replaced: JSON can hold them, and UTF-8 (so OTLP) cannot.
    envelope.method = None if method is None else method.encode("utf-8", "replace").decode()
    for member in ("id", "params", "result", "error"):
        setattr(envelope, member, members.get(member, _NO_ID))
    return envelope
