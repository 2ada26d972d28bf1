"""JSON-RPC messages of our own, and small changes to those of others."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from debbie_otel.session.message import InterceptedMessage, JsonRpcId, loads

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode_message(
    method: str, params: Any, call_id: JsonRpcId = None, *, versioned: bool = True
) -> bytes:
    """Return a request, or a notification if it has no id.

    Args:
        method: Its name.
        params: JSON; None for no such member.
        call_id: Of a request.
        versioned: Whether it has a `jsonrpc` member.

    """
    message: dict[str, Any] = {"jsonrpc": "2.0"} if versioned else {}
    if call_id is not None:
        message["id"] = call_id
    message["method"] = method
    if params is not None:
        message["params"] = params
    return _encode(message)


def encode_error(call_id: JsonRpcId, code: int, text: str, *, versioned: bool = True) -> bytes:
    """Return an error response."""
    message: dict[str, Any] = {"jsonrpc": "2.0"} if versioned else {}
    message |= {"id": _raw_id(call_id), "error": {"code": code, "message": text}}
    return _encode(message)


def encode_result(call_id: JsonRpcId, result: Any, *, versioned: bool = True) -> bytes:
    """Return a response."""
    message: dict[str, Any] = {"jsonrpc": "2.0"} if versioned else {}
    return _encode(message | {"id": _raw_id(call_id), "result": result})


def stand_in(message: InterceptedMessage) -> bytes:
    """Return a small message in the place of a request or response that was too large to keep."""
    left_out = {"left_out": f"{message.size} bytes on the wire"}
    call_id = None if message.id is msgspec.UNSET else message.id
    if message.method is not None:
        return encode_message(message.method, left_out, call_id, versioned=message.versioned)
    return encode_result(call_id, left_out, versioned=message.versioned)


def with_id(payload: bytes, call_id: JsonRpcId) -> bytes:
    """Return a message, not a batch, with another id; all other members as they are.

    Args:
        payload: Of a message that has an id.
        call_id: As `InterceptedMessage.id` has it.

    """
    try:
        members = _decode_members(payload)
    except _UNREADABLE:
        value = loads(payload)
        assert isinstance(value, dict)
        value["id"] = json.loads(bytes(_raw_id(call_id)))
        return json.dumps(value).encode()
    members["id"] = _raw_id(call_id)
    return _encode(members)


def members_of_batch(payload: bytes) -> list[bytes]:
    """Return the messages in a batch, each as it is; none if it is no batch."""
    try:
        return [bytes(member) for member in _decode_batch(payload)]
    except _UNREADABLE:
        value = loads(payload)
        return [json.dumps(member).encode() for member in value] if isinstance(value, list) else []


def _raw_id(call_id: JsonRpcId) -> msgspec.Raw:
    if isinstance(call_id, str) and call_id.startswith("\0"):
        return msgspec.Raw(call_id[1:].encode())  # of a forbidden type: kept as JSON text
    return msgspec.Raw(_encode(call_id))
