"""What a new connection to the server says before the client is put on it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from websockets.frames import CloseCode, Opcode

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.acting.pending_requests import Outstanding
from debbie_otel.intervention.channel import Answer, RestartPlan
from debbie_otel.session.edit import with_id
from debbie_otel.session.encode import encode_error, encode_id
from debbie_otel.session.message import MessageType, parse_payload
from debbie_otel.session.renaming import Renaming
from debbie_otel.transports.tap.upstream_connection import OwnConnection
from debbie_otel.wire.decompressing import plain_frame
from debbie_otel.wire.direction import MessageDirection

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_METHOD_NOT_FOUND = -32601
_GOING_AWAY = int(CloseCode.GOING_AWAY).to_bytes(2, "big")


class Rehearsal:
    """Says a plan's messages on a connection of our own, one after the other.

    What the server says meanwhile is for nobody: the client has heard it once. A request of the
    server's is answered with an error, as nobody else will answer it.

    Args:
        own: The connection, open.
        names: What the sessions are called on the server.

    """

    def __init__(self, own: OwnConnection, names: Renaming) -> None:
        self._own = own
        self._names = names
        self._outstanding = Outstanding()
        own.on_message = self._receive
        own.on_end = self._outstanding.fail

    async def play(self, plan: RestartPlan) -> str | None:
        """Say it all; return the server's name of the session, None if it has got none.

        Raises:
            ChannelError: The server refused one of them, or the connection broke.

        """
        for payload in plan.replay:
            await self._say(payload)
        if plan.start is None:
            return plan.session_id
        answer = await self._say(plan.start)
        if plan.session_path is None or plan.session_id is None:
            return plan.session_id
        name = _at(plan.session_path, {"result": answer.result})
        if not isinstance(name, str):
            raise ChannelError(f"the server named no session at {plan.session_path}")
        return name

    async def _say(self, payload: bytes) -> Answer:
        """Send a message; return its answer, an empty one to a notification."""
        (message, *more) = parse_payload(payload, _CLIENT, 0)
        if more or message.method is None:
            raise ChannelError("what was to be said again is neither a request nor a notification")
        payload = self._names.to_server(payload)
        if message.type is MessageType.NOTIFICATION:
            self._own.send(payload)
            return Answer()
        request = self._outstanding.new(numbered=type(message.id) is int)
        self._own.send(with_id(payload, encode_id(request.id)))
        answer = await request.answer
        if answer.error is not None:
            raise ChannelError(f"{message.method} was refused: {answer.error}")
        return answer

    def _receive(self, payload: bytes) -> None:
        for message in parse_payload(payload, _SERVER, 0):
            if message.type is MessageType.REQUEST and message.id is not msgspec.UNSET:
                text = "the session is being restarted"
                versioned = message.versioned
                answer = encode_error(
                    message.raw_id or b"null", _METHOD_NOT_FOUND, text, versioned=versioned
                )
                self._own.send(answer)
            else:
                self._outstanding.take(message)


def _at(path: str, value: Any) -> Any:
    """Return what is at a path such as `result.thread.id`; None if nothing is."""
    for key in path.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict):
            value = value.get(key)
        else:
            return None
    return value


CLOSE_SECONDS = 1.0
"""How long a connection that was replaced may take to say goodbye."""


def dismiss(transport: asyncio.Transport | None) -> None:
    """Close a transport to a server that nobody needs any more, in order if that is possible."""
    if transport is None or transport.is_closing():
        return
    transport.set_protocol(asyncio.Protocol())
    transport.resume_reading()
    transport.write(plain_frame(_GOING_AWAY, Opcode.CLOSE, masked=True))
    transport.close()
    asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.abort)
