"""Payloads that are one message."""

from __future__ import annotations

from debbie_otel.session.message import InterceptedMessage, parse_payload
from debbie_otel.wire.direction import MessageDirection

C2S = MessageDirection.CLIENT_TO_SERVER


def message(payload: bytes, direction: MessageDirection = C2S) -> InterceptedMessage:
    """Parse a payload that is one message."""
    (found,) = parse_payload(payload, direction, 0)
    return found
