"""JSON-RPC messages of Debbie's own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from debbie_otel.session.message import InterceptedMessage, JsonRpcId, OddId

_encode = msgspec.json.encode


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


def encode_error(
    raw_id: bytes | msgspec.Raw, code: int, text: str, *, versioned: bool = True
) -> bytes:
    """Return an error response; `raw_id` is the request's id as it was spelt."""
    message: dict[str, Any] = {"jsonrpc": "2.0"} if versioned else {}
    message |= {"id": msgspec.Raw(raw_id), "error": {"code": code, "message": text}}
    return _encode(message)


def encode_result(raw_id: bytes | msgspec.Raw, result: Any, *, versioned: bool = True) -> bytes:
    """Return a response; `raw_id` is the request's id as it was spelt."""
    message: dict[str, Any] = {"jsonrpc": "2.0"} if versioned else {}
    return _encode(message | {"id": msgspec.Raw(raw_id), "result": result})


def encode_id(call_id: JsonRpcId) -> bytes:
    """Return an id as JSON: one of Debbie's own, as those of others are kept as they were spelt."""
    if isinstance(call_id, Decimal | OddId):
        return str(call_id).encode()
    return _encode(call_id)


def stand_in(message: InterceptedMessage) -> bytes:
    """Return a small message in the place of a request or response that was too large to keep."""
    left_out = {"left_out": f"{message.size} bytes on the wire"}
    if message.method is None:
        return encode_result(message.raw_id or b"null", left_out, versioned=message.versioned)
    call_id = None if message.id is msgspec.UNSET else message.id
    return encode_message(message.method, left_out, call_id, versioned=message.versioned)
