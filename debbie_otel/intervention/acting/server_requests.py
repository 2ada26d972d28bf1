"""What servers ask their client across a restart: who gets the answers, if anybody."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

import msgspec

from debbie_otel.session.edit import members_of_batch, with_id
from debbie_otel.session.encode import encode_id
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, MessageType, parse_payload
from debbie_otel.wire.direction import MessageDirection

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_Change = Callable[[InterceptedMessage, bytes], bytes | None]


class Questions:
    """Open requests of a server that was replaced, and those of the new one that have their ids.

    Servers count their requests from a small number on, so that a new one soon uses an id that is
    still open at the client. It gets another one on its way, which the answer gives back; an
    answer under the id itself can then only be meant for the server that is gone.
    """

    def __init__(self) -> None:
        self._stale: set[JsonRpcId] = set()
        self._renamed: dict[JsonRpcId, bytes] = {}  # what the client sees -> as the server spelt it
        self._prefix = f"debbie-{secrets.token_hex(8)}-q"
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._stale or self._renamed)

    def leave(self, ids: Iterable[JsonRpcId]) -> None:
        """Take note that whoever asked these is gone."""
        self._stale.update(ids)
        self._renamed.clear()

    def to_client(self, payload: bytes) -> bytes:
        """Return a server's message as the client is to see it."""
        if not self._stale:
            return payload
        changed = self._each(payload, _SERVER, self._asked)
        assert changed is not None  # questions are never dropped
        return changed

    def to_server(self, payload: bytes) -> bytes | None:
        """Return a client's message as the server is to see it; None if it is for nobody."""
        return self._each(payload, _CLIENT, self._answered) if self else payload

    # -- inside ------------------------------------------------------------------------------

    def _each(self, payload: bytes, direction: MessageDirection, change: _Change) -> bytes | None:
        messages = parse_payload(payload, direction, 0)
        if payload.lstrip()[:1] != b"[":
            return change(messages[0], payload) if len(messages) == 1 else payload
        members = members_of_batch(payload)
        if len(members) != len(messages):
            return payload
        changed = [change(*pair) for pair in zip(messages, members, strict=True)]
        if all(new is old for new, old in zip(changed, members, strict=True)):
            return payload
        left = [member for member in changed if member is not None]
        return b"[" + b",".join(left) + b"]" if left else None

    def _asked(self, message: InterceptedMessage, raw: bytes) -> bytes:
        if message.type is not MessageType.REQUEST or message.id is msgspec.UNSET:
            return raw
        if message.id not in self._stale:
            return raw
        self._number += 1
        ours = f"{self._prefix}{self._number}"
        self._renamed[ours] = bytes(message.raw_id or b"null")
        return with_id(raw, encode_id(ours))

    def _answered(self, message: InterceptedMessage, raw: bytes) -> bytes | None:
        if message.method is not None or message.id is msgspec.UNSET:
            return raw
        if message.id in self._renamed:
            return with_id(raw, self._renamed.pop(message.id))
        if message.id in self._stale:
            self._stale.discard(message.id)
            return None
        return raw
