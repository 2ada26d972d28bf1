"""What a new connection to the server says before the client is put on it."""

from __future__ import annotations

import msgspec

from debbie_otel.app.channels.mediated import PendingAnswers
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Answer, RestartPlan
from debbie_otel.intervention.mediator import Ids, SessionNames
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.edit import raw_value, with_id
from debbie_otel.session.encode import encode_error, encode_id
from debbie_otel.session.message import MessageType, loads, parse_payload
from debbie_otel.transports.tap.upstream_connection import UpstreamConnection
from debbie_otel.wire.direction import MessageDirection

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_METHOD_NOT_FOUND = -32601


class SessionReplay:
    """Says a plan's messages on a new connection, one after the other.

    What the server says meanwhile is dropped: the client has heard it once. A request of the
    server's is answered with an error, as there is no client to answer it.

    Args:
        upstream: The connection, open.
        names: What the sessions are called on the server.
        dialect: Where messages name them.

    """

    def __init__(self, upstream: UpstreamConnection, names: SessionNames, dialect: Dialect) -> None:
        self._upstream = upstream
        self._names = names
        self._paths = dialect.name_paths
        self._ids = Ids()
        self._answers = PendingAnswers()
        upstream.on_message = self._receive
        upstream.on_end = self._answers.fail

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
        found = raw_value(answer.raw, plan.session_path)
        name = None if found is None else loads(found)
        if not isinstance(name, str):
            raise ChannelError(f"the server named no session at {plan.session_path}")
        return name

    async def _say(self, payload: bytes) -> Answer:
        """Send a message; return its answer, an empty one to a notification."""
        (message, *more) = parse_payload(payload, _CLIENT, 0)
        if more or message.method is None:
            raise ChannelError("what was to be said again is neither a request nor a notification")
        payload = self._names.to_server(payload, self._paths)
        if message.type is MessageType.NOTIFICATION:
            self._upstream.send(payload)
            return Answer()
        request = self._answers.new(self._ids.new(numbered=type(message.id) is int))
        self._upstream.send(with_id(payload, encode_id(request.id)))
        answer = await request.answer
        if answer.error is not None:
            raise ChannelError(f"{message.method} was refused: {answer.error}")
        return answer

    def _receive(self, payload: bytes) -> None:
        for message in parse_payload(payload, _SERVER, 0):
            if message.type is MessageType.REQUEST and message.id is not msgspec.UNSET:
                text = "the session is being restarted"
                raw_id = message.raw_id or b"null"
                versioned = message.versioned
                answer = encode_error(raw_id, _METHOD_NOT_FOUND, text, versioned=versioned)
                self._upstream.send(answer)
            elif message.method is None and message.id is not msgspec.UNSET:
                self._answers.resolve(message.id, message)
