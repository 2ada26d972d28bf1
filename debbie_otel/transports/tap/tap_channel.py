"""TapChannel: acts on a connection that goes through the tap.

What is sent goes in between two messages of the client's; what comes back for it is held back. A
direction is re-framed from the first act that needs it on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from websockets.frames import CloseCode, Opcode

from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.acting.answers import Answers
from debbie_otel.intervention.acting.server_requests import Questions
from debbie_otel.intervention.channel import Request, Restarted, RestartPlan
from debbie_otel.session.encode import encode_message
from debbie_otel.session.message import JsonRpcId
from debbie_otel.session.model import Call
from debbie_otel.session.renaming import Renaming
from debbie_otel.transports.tap.dialer import Dialer
from debbie_otel.transports.tap.direction import Direction
from debbie_otel.transports.tap.session_replay import Rehearsal, dismiss
from debbie_otel.transports.tap.side_session import TapSide
from debbie_otel.transports.tap.splice import SplicedConnection
from debbie_otel.transports.tap.upstream_connection import OwnConnection
from debbie_otel.wire.decompressing import plain_frame
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import CloseSeen, FrameEvent, PayloadSeen, PayloadSkipped
from debbie_otel.wire.handshake import Handshake
from debbie_otel.wire.reframe import Reframer

RESTART_SECONDS = 60.0
"""How long a restart may take at most; whoever asks for one may be less patient."""

_MAX_REASON = 120  # bytes; a close frame takes 123 (RFC 6455 section 5.5)
_INTERNAL_ERROR = int(CloseCode.INTERNAL_ERROR).to_bytes(2, "big")

MAX_SIDES = 4
"""Side connections of one client's that may be open."""

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT


class TapChannel:
    """A `Channel` for a connection of the tap.

    Args:
        connection: The two transports.
        interceptor: Observes them.
        dialer: The way to the upstream.
        observe: Returns the observer of another connection to the same server.

    """

    def __init__(
        self,
        connection: SplicedConnection,
        interceptor: WebSocketInterceptor,
        dialer: Dialer,
        observe: Callable[[], WebSocketInterceptor],
    ) -> None:
        self._dialer = dialer
        self._observe = observe
        self._connection = connection
        self._interceptor = interceptor
        self._model = interceptor.connection
        self._answers = Answers(self._model, self._give, partial(self._tell, _SERVER))
        self._sides: set[TapSide] = set()
        self._names = Renaming()
        self._questions = Questions()
        self._restarting = False
        self._upstream_error: str | None = None  # why the server has ended during a restart
        self._ended: str | None = None
        self._up, self._down = connection.upward, connection.downward
        connection.actor = self

    @property
    def key(self) -> str:
        """The connection's key."""
        return self._model.key

    @property
    def ended(self) -> str | None:
        """Why nothing can be sent any more; see `Channel.ended`."""
        return self._ended

    # -- what strategies do ------------------------------------------------------------------

    def request(self, method: str, params: Any, *, replaces: Call | None = None) -> Request:
        """Send a request; see `Channel.request`."""
        self._check_open()
        self._reframe(self._down)
        self._reframe(self._up)
        request = self._answers.new(replaces)
        self._send(method, params, request.id, replaces)
        return request

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; see `Channel.notify`."""
        self._check_open()
        self._send(method, params, None, None)

    def attend(self) -> None:
        """Do nothing: a tap looks at every message at once."""

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to a request; see `Channel.hold`."""
        self._check_open()
        self._reframe(self._down)
        self._answers.hold(call)

    def release(self, call: Call) -> None:
        """Let a held answer through; see `Channel.release`."""
        self._answers.release(call)

    def answer(self, call: Call, result: Any) -> None:
        """Answer a held request in the server's place; see `Channel.answer`."""
        self._check_open()
        self._answers.answer(call, result)

    def fail(self, call: Call, text: str) -> None:
        """Answer a held request with an error; see `Channel.fail`."""
        self._check_open()
        self._answers.fail(call, text)

    async def side(self) -> TapSide:
        """Open another connection to the server; see `Channel.side`."""
        self._check_open()
        handshake = self._handshake()
        if len(self._sides) >= MAX_SIDES:
            raise ChannelError(f"{MAX_SIDES} side connections are open already")
        own = await self._connect(handshake)
        observer = self._observe()
        observer.connection.speak(self._model.dialect)
        observer.handshake_received(None, handshake.request_headers)
        side = TapSide(
            own,
            observer,
            self._names,
            versioned=self._model.versioned,
            numbered=self._model.numbered,
            on_end=self._sides.discard,
        )
        self._sides.add(side)
        return side

    async def restart(self, plan: RestartPlan) -> Restarted:
        """Put a new connection to the server under the client's; see `Channel.restart`."""
        self._check_open()
        if self._restarting:
            raise ChannelError("the session is being restarted already")
        self._restarting = True
        own: OwnConnection | None = None
        try:
            async with asyncio.timeout(RESTART_SECONDS):
                self._reframe(self._down)  # whatever the old server does, the client is not to see
                self._reframe(self._up)
                await self._up.boundary()
                self._connection.freeze()
                own = await self._connect(self._handshake())
                name = await Rehearsal(own, self._names).play(plan)
                await self._silence()
            restarted = self._swap(own, plan, name)
        except BaseException as error:
            if own is not None:
                own.abort()
            if self._upstream_error is not None:
                self._send_off(str(error))
            if isinstance(error, TimeoutError):
                raise ChannelError(f"no new session in {RESTART_SECONDS:g} s") from None
            raise
        finally:
            self._restarting = False
            self._upstream_error = None
            if self._ended is None:
                self._connection.thaw()
        return restarted

    # -- what the connection tells ------------------------------------------------------------

    def upstream_ended(self, error: str | None) -> bool:
        """Let through what is held back: no other answers will come; unless there is a restart."""
        if self._restarting:
            self._upstream_error = error or "the server has closed the connection"
            return True
        for payload in self._end(error or "the server has closed the connection"):
            self._give(payload)
        return False

    def closed(self) -> None:
        """Take note that the connection is gone, and let go of it: no reference cycle is left."""
        self._end("the connection is closed")
        for side in list(self._sides):
            side.end()
        self._interceptor.channel = None
        self._up.leave()
        self._down.leave()
        self._answers = Answers(self._model, _nowhere, _nowhere)

    # -- inside ------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ChannelError(self._ended)

    def _reframe(self, direction: Direction) -> Reframer:
        """Have each message of a direction looked at from now on.

        Raises:
            ChannelError: The bytes cannot be followed, or no message can follow any more.

        """
        parser = self._interceptor.wire.parser(direction.direction)
        if parser is None:
            why = self._interceptor.wire.inspection_stopped or "it is no WebSocket (yet)"
            raise ChannelError(f"the connection cannot be followed: {why}")
        if parser.ended or direction.ended:
            raise ChannelError("the connection is being closed")
        return direction.reframe(parser, self)

    def _handshake(self) -> Handshake:
        handshake = self._interceptor.wire.handshake
        if handshake is None:
            raise ChannelError("it is no WebSocket (yet)")
        return handshake

    async def _connect(self, handshake: Handshake) -> OwnConnection:
        own = await OwnConnection.open(self._dialer, handshake, self._interceptor.max_message_size)
        if self._ended is not None:
            own.abort()
            raise ChannelError(self._ended)
        own.check()
        client = self._interceptor.wire.parser(_CLIENT)
        if client is not None:
            own.opcode = client.data_opcode
        return own

    async def _silence(self) -> None:
        """Wait until what the client has got ends with a whole message."""
        while True:
            self._check_open()
            reframer = await self._down.boundary()
            self._down.drain()
            if reframer.clean:
                return

    def _swap(self, own: OwnConnection, plan: RestartPlan, name: str | None) -> Restarted:
        """Put the client on the new connection, between two messages of either direction."""
        self._check_open()
        upward = self._reframe(self._up)
        transport = own.hand_over()
        dismiss(self._connection.replace_upstream(transport))
        upward.make_plain()  # the new server has agreed to no compression
        self._interceptor.wire.renew_server(own.reframer.parser)
        if plan.fresh:
            self._interceptor.server_replaced()
        own.reframer.handler = self
        self._down.follow(own.reframer)
        if plan.session_id is not None and name is not None:
            self._names.learn(plan.session_id, name)
        calls = self._model.pending_calls
        self._questions.leave(call.id for call in calls if call.direction is _SERVER)
        replaced = None if plan.request is None else plan.replaces
        self._answers.start_over("the session was restarted", replaced)
        request = None
        if plan.request is not None:
            request = self.request(*plan.request, replaces=plan.replaces)
        return Restarted(name, request)

    def _send_off(self, why: str) -> None:
        """Close the client's connection properly: the server is gone for good."""
        if self._ended is not None:
            return
        for payload in self._end(f"the server is gone, and a restart failed: {why}"):
            self._give(payload)
        reframer = self._down.reframer
        if reframer is not None and reframer.clean:
            reason = f"restart failed: {why}".encode()[:_MAX_REASON].decode(errors="ignore")
            payload = _INTERNAL_ERROR + reason.encode()
            self._down.insert_frame(plain_frame(payload, Opcode.CLOSE, masked=False))
        self._connection.client.close()

    def _send(self, method: str, params: Any, call_id: JsonRpcId, for_call: Call | None) -> None:
        versioned = self._model.versioned if for_call is None else for_call.versioned
        payload = encode_message(method, params, call_id, versioned=versioned)
        self._reframe(self._up)
        self._up.insert(self._names.to_server(payload))
        self._tell(_CLIENT, payload)

    def _give(self, payload: bytes) -> None:
        """Send the client a message, if it can still take one."""
        with contextlib.suppress(ChannelError):
            self._reframe(self._down)
            self._down.insert(payload)

    def _tell(self, direction: MessageDirection, payload: bytes) -> None:
        self._interceptor.message_received(direction, payload, self._interceptor.clock())

    # -- as a handler of messages --------------------------------------------------------------

    def message(self, seen: PayloadSeen) -> bytes | None:
        """Say what becomes of a message."""
        return self._from_client(seen) if seen.direction is _CLIENT else self._from_server(seen)

    def passed(self, event: FrameEvent) -> None:
        """Show the observer what passes in any case."""
        interceptor = self._interceptor
        if isinstance(event, PayloadSeen):
            self._tell(event.direction, event.payload)
        elif isinstance(event, PayloadSkipped):
            now = interceptor.clock()
            interceptor.message_skipped(
                event.direction, event.head, event.size, now, event.reason, event.tail
            )

    def closing(self, seen: CloseSeen) -> bool:
        """Say what becomes of a close frame."""
        if seen.direction is _CLIENT:
            self._interceptor.leaving = True
            return True
        return self._server_closing(seen)

    def failed(self, error: Exception) -> None:
        """Report a failure of Debbie's own."""
        self._connection.observer_failed(error)

    def _from_client(self, seen: PayloadSeen) -> bytes | None:
        payload = seen.payload
        self._tell(_CLIENT, payload)
        answered = self._questions.to_server(payload)
        return None if answered is None else self._names.to_server(answered)

    def _from_server(self, seen: PayloadSeen) -> bytes | None:
        payload = self._questions.to_client(self._names.to_client(seen.payload))
        self._tell(_SERVER, payload)
        return self._answers.decide(payload)

    def _server_closing(self, seen: CloseSeen) -> bool:
        """Let through what is held back before the close frame; keep that during a restart."""
        why = f"the server has closed the connection: {seen.code} {seen.reason}".rstrip()
        if self._interceptor.leaving:
            why = "the client has left"  # and the server answers its close frame
        if self._restarting:
            self._upstream_error = why
            return False
        for payload in self._end(why):
            self._down.insert(payload)
        return True

    def _end(self, why: str) -> list[bytes]:
        """Be of no use any more; return what was held back from the client."""
        if self._ended is not None:
            return []
        self._ended = why
        return self._answers.end(why)


def _nowhere(_payload: bytes) -> None:
    """Take what has nowhere to go any more."""
