"""A connection of our own beside a client's: for servers that take one message after the other.

Its messages belong to the session that they name, for the model as for telemetry; the client sees
none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.acting.pending_requests import Outstanding
from debbie_otel.intervention.channel import Request
from debbie_otel.session.encode import encode_error, encode_message
from debbie_otel.session.message import MessageType, parse_payload
from debbie_otel.session.renaming import Renaming
from debbie_otel.transports.tap.upstream_connection import OwnConnection
from debbie_otel.wire.direction import MessageDirection

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_METHOD_NOT_FOUND = -32601
IDLE_SECONDS = 5.0
"""How long it stays open when nothing is expected on it."""


class TapSide:
    """A `SideChannel`.

    Args:
        own: The connection, open.
        interceptor: Observes it; speaks the client's dialect already.
        names: What the sessions are called on the server.
        versioned: Whether requests have a `jsonrpc` member, and
        numbered: whether their ids are numbers.
        on_end: Told once when it is over.

    """

    def __init__(
        self,
        own: OwnConnection,
        interceptor: WebSocketInterceptor,
        names: Renaming,
        *,
        versioned: bool,
        numbered: bool,
        on_end: Callable[[TapSide], None],
    ) -> None:
        self._own = own
        self._interceptor = interceptor
        self._names = names
        self._versioned = versioned
        self._numbered = numbered
        self._on_end = on_end
        self._outstanding = Outstanding()
        self._idle: asyncio.TimerHandle | None = None
        own.on_message, own.on_end = self._receive, self._ended
        self._expect_nothing()

    def request(self, method: str, params: Any) -> Request:
        """Send a request; raises ChannelError if it cannot be sent."""
        request = self._outstanding.new(numbered=self._numbered)
        self._interceptor.connection.expect(request.id)
        try:
            self._send(encode_message(method, params, request.id, versioned=self._versioned))
        except ChannelError:
            self._outstanding.forget(request)
            raise
        self._stop_timer()
        return request

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; raises ChannelError if it cannot be sent."""
        self._send(encode_message(method, params, versioned=self._versioned))

    async def close(self) -> None:
        """Close it. Once is enough."""
        self._stop_timer()
        await self._own.close()

    def end(self) -> None:
        """Begin to close it."""
        self._own.end()

    # -- inside ------------------------------------------------------------------------------

    def _send(self, payload: bytes) -> None:
        self._own.send(self._names.to_server(payload))
        self._tell(_CLIENT, payload)

    def _tell(self, direction: MessageDirection, payload: bytes) -> None:
        self._interceptor.message_received(direction, payload, self._interceptor.clock())

    def _receive(self, payload: bytes) -> None:
        payload = self._names.to_client(payload)
        self._tell(_SERVER, payload)
        for message in parse_payload(payload, _SERVER, 0):
            if message.type is MessageType.REQUEST and message.id is not msgspec.UNSET:
                text = "this connection answers nothing"
                versioned = message.versioned
                answer = encode_error(
                    message.raw_id or b"null", _METHOD_NOT_FOUND, text, versioned=versioned
                )
                self._send(answer)
            elif self._outstanding.take(message) and not self._outstanding:
                self._expect_nothing()

    def _expect_nothing(self) -> None:
        """Close it after a while: there is nothing to wait for."""
        self._stop_timer()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._own.end)

    def _stop_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _ended(self, why: str) -> None:
        self._stop_timer()
        self._outstanding.fail(why)
        self._interceptor.close(self._interceptor.clock(), "disconnected")
        self._on_end(self)
