"""A connection beside a client's: for servers that take one message after the other.

Its messages belong to the session that they name, for the model as for telemetry; the client sees
none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.app.channels.mediated import PendingAnswers
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Request
from debbie_otel.intervention.mediator import MAX_PENDING, Ids, SessionNames
from debbie_otel.session.connection import Connection
from debbie_otel.session.encode import encode_error, encode_message
from debbie_otel.session.message import MessageType, parse_payload
from debbie_otel.transports.tap.upstream_connection import UpstreamConnection
from debbie_otel.wire.direction import MessageDirection

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_METHOD_NOT_FOUND = -32601
IDLE_SECONDS = 5.0
"""How long it stays open when nothing is expected on it."""


class SideSession:
    """A `SideChannel`.

    Args:
        upstream: The connection, open.
        interceptor: Observes it; speaks the client's dialect already.
        names: What the sessions are called on the server.
        model: Of the client's connection, whose habits it has.

    Attributes:
        on_end: Told once when it is over.

    """

    def __init__(
        self,
        upstream: UpstreamConnection,
        interceptor: WebSocketInterceptor,
        names: SessionNames,
        model: Connection,
    ) -> None:
        self.on_end: Callable[[SideSession], None] = _ignore
        self._upstream = upstream
        self._interceptor = interceptor
        self._names = names
        self._paths = model.dialect.name_paths
        self._versioned = model.versioned
        self._numbered = model.numbered
        self._ids = Ids()
        self._answers = PendingAnswers()
        self._idle: asyncio.TimerHandle | None = None
        upstream.on_message, upstream.on_end = self._receive, self._ended
        self._expect_nothing()

    def request(self, method: str, params: Any) -> Request:
        """Send a request; raises ChannelError if it cannot be sent."""
        if len(self._answers) >= MAX_PENDING:
            raise ChannelError(f"{MAX_PENDING} requests wait for their answers already")
        request = self._answers.new(self._ids.new(numbered=self._numbered))
        self._interceptor.connection.expect(request.id)
        try:
            self._send(encode_message(method, params, request.id, versioned=self._versioned))
        except ChannelError:
            self._answers.forget(request.id)
            raise
        self._stop_timer()
        return request

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; raises ChannelError if it cannot be sent."""
        self._send(encode_message(method, params, versioned=self._versioned))

    async def close(self) -> None:
        """Close it. Once is enough."""
        self._stop_timer()
        await self._upstream.close()

    def end(self) -> None:
        """Begin to close it."""
        self._upstream.end()

    # -- inside ------------------------------------------------------------------------------

    def _send(self, payload: bytes) -> None:
        self._upstream.send(self._names.to_server(payload, self._paths))
        self._tell(_CLIENT, payload)

    def _tell(self, direction: MessageDirection, payload: bytes) -> None:
        self._interceptor.message_received(direction, payload, self._interceptor.clock())

    def _receive(self, payload: bytes) -> None:
        payload = self._names.to_client(payload, self._paths)
        self._tell(_SERVER, payload)
        for message in parse_payload(payload, _SERVER, 0):
            if message.type is MessageType.REQUEST and message.id is not msgspec.UNSET:
                text = "this connection answers nothing"
                raw_id = message.raw_id or b"null"
                self._send(
                    encode_error(raw_id, _METHOD_NOT_FOUND, text, versioned=message.versioned)
                )
            elif (
                message.method is None
                and message.id is not msgspec.UNSET
                and self._answers.resolve(message.id, message)
                and not self._answers
            ):
                self._expect_nothing()

    def _expect_nothing(self) -> None:
        """Close it after a while: there is nothing to wait for."""
        self._stop_timer()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._upstream.end)

    def _stop_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _ended(self, why: str) -> None:
        self._stop_timer()
        self._answers.fail(why)
        self._interceptor.close(self._interceptor.clock(), "disconnected")
        self.on_end(self)


def _ignore(_: SideSession) -> None:
    """Tell nobody."""
