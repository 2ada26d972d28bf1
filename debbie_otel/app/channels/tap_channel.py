"""TapChannel: acts on a connection that goes through the tap.

What is sent goes in between two messages of the client's; what comes back for it is held back. A
direction is re-framed from the first act that needs it on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from websockets.frames import CloseCode, Opcode

from debbie_otel.app.channels.mediated import MediatedChannel
from debbie_otel.app.channels.session_replay import SessionReplay
from debbie_otel.app.channels.side_session import SideSession
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Restarted, RestartPlan
from debbie_otel.intervention.mediator import Command, Forward, Hold, Inject, Show, Verdict
from debbie_otel.transports.tap.dialer import Dialer
from debbie_otel.transports.tap.forwarding import Direction
from debbie_otel.transports.tap.splice import SplicedConnection
from debbie_otel.transports.tap.upstream_connection import UpstreamConnection, dismiss
from debbie_otel.wire.decompressing import plain_frame
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import CloseSeen, FrameEvent, PayloadSeen, PayloadSkipped
from debbie_otel.wire.handshake import Handshake
from debbie_otel.wire.reframe import Reframer

RESTART_SECONDS = 60.0
"""How long a restart may take at most; whoever asks for one may be less patient."""

MAX_SIDES = 4
"""Side connections of one client's that may be open."""

_MAX_REASON = 120  # bytes; a close frame takes 123 (RFC 6455 section 5.5)
_INTERNAL_ERROR = int(CloseCode.INTERNAL_ERROR).to_bytes(2, "big")

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT


class TapChannel(MediatedChannel):
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
        super().__init__(interceptor)
        self._dialer = dialer
        self._observe = observe
        self._connection = connection
        self._up, self._down = connection.upward, connection.downward
        self._sides: set[SideSession] = set()
        self._restarting: asyncio.Task[object] | None = None
        self._upstream_error: str | None = None  # why the server has ended during a restart
        connection.actor = self

    # -- what strategies do ------------------------------------------------------------------

    def attend(self) -> None:
        """Do nothing: a tap looks at every message at once."""

    async def side(self) -> SideSession:
        """Open another connection to the server; see `Channel.side`."""
        with self._acting():
            handshake = self._handshake()
            if len(self._sides) >= MAX_SIDES:
                raise ChannelError(f"{MAX_SIDES} side connections are open already")
            upstream = await self._connect(handshake)
            observer = self._observe()
            observer.connection.speak(self._model.dialect)
            observer.handshake_received(None, handshake.request_headers)
            side = SideSession(upstream, observer, self._mediator.names, self._model)
            side.on_end = self._sides.discard
            self._sides.add(side)
            return side

    async def restart(self, plan: RestartPlan) -> Restarted:
        """Put a new connection to the server under the client's; see `Channel.restart`."""
        with self._acting():
            if self._restarting is not None:
                raise ChannelError("the session is being restarted already")
            self._restarting = asyncio.current_task()
        upstream: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(RESTART_SECONDS):
                self._look(to_server=True)  # whatever the old server does, the client is not to see
                await self._up.boundary()
                self._connection.freeze()
                upstream = await self._connect(self._handshake())
                names, dialect = self._mediator.names, self._model.dialect
                name = await SessionReplay(upstream, names, dialect).play(plan)
                await self._silence()
            return self._swap(upstream, plan, name)
        except BaseException as error:
            if upstream is not None:
                upstream.abort()
            if self._upstream_error is not None:
                self._send_off(str(error))
            if isinstance(error, TimeoutError):
                raise ChannelError(f"no new session in {RESTART_SECONDS:g} s") from None
            raise
        finally:
            self._restarting = None
            self._upstream_error = None
            if self._ended is None:
                self._connection.thaw()

    # -- what the connection tells -------------------------------------------------------------

    def upstream_ended(self, error: str | None) -> bool:
        """Let through what is held back: no other answers will come; unless there is a restart."""
        if self._restarting is not None:
            self._upstream_error = error or "the server has closed the connection"
            return True
        self._end(error or "the server has closed the connection")
        return False

    def closed(self) -> None:
        """Take note that the connection is gone, and let go of it: no reference cycle is left."""
        self._end("the connection is closed")
        for side in list(self._sides):
            side.end()
        self._interceptor.channel = None
        self._up.leave()
        self._down.leave()

    # -- as a handler of messages ----------------------------------------------------------------

    def message(self, seen: PayloadSeen) -> bytes | None:
        """Say what becomes of a message."""
        if seen.direction is _CLIENT:
            self._tell(_CLIENT, seen.payload)
            return _payload(self._mediator.client_sent(seen.payload), seen.payload)
        payload = self._mediator.client_view(seen.payload)
        self._tell(_SERVER, payload)
        opcode = Opcode.TEXT if seen.text else Opcode.BINARY
        return _payload(self._carry_out(self._mediator.server_sent(payload, opcode)), payload)

    def passed(self, event: FrameEvent) -> None:
        """Show the observer what passes in any case."""
        if isinstance(event, PayloadSeen):
            self._tell(event.direction, event.payload)
        elif isinstance(event, PayloadSkipped):
            now = self._interceptor.clock()
            self._interceptor.message_skipped(
                event.direction, event.head, event.size, now, event.reason, event.tail
            )

    def closing(self, seen: CloseSeen) -> bool:
        """Say what becomes of a close frame."""
        if seen.direction is _CLIENT:
            self._interceptor.leaving = True
            return True
        why = f"the server has closed the connection: {seen.code} {seen.reason}".rstrip()
        if self._interceptor.leaving:
            why = "the client has left"  # and the server answers its close frame
        if self._restarting is not None:
            self._upstream_error = why
            return False
        self._end(why)  # what is held back goes out before the close frame
        return True

    def failed(self, error: Exception) -> None:
        """Report a failure of Debbie's own."""
        self._connection.observer_failed(error)

    # -- inside ------------------------------------------------------------------------------

    def _look(self, *, to_server: bool = False) -> None:
        self._reframe(self._down)
        if to_server:
            self._reframe(self._up)

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

    def _inject(self, command: Inject) -> None:
        if command.direction is _CLIENT:
            self._reframe(self._up)
            self._up.insert(command.payload, command.opcode)
        elif self._down.reframer is not None:
            self._down.insert(command.payload, command.opcode)

    def _show(self, command: Show) -> None:
        self._tell(command.direction, command.payload)

    def _tell(self, direction: MessageDirection, payload: bytes) -> None:
        self._interceptor.message_received(direction, payload, self._interceptor.clock())

    def _handshake(self) -> Handshake:
        handshake = self._interceptor.wire.handshake
        if handshake is None:
            raise ChannelError("it is no WebSocket (yet)")
        return handshake

    async def _connect(self, handshake: Handshake) -> UpstreamConnection:
        upstream = await UpstreamConnection.open(
            self._dialer, handshake, self._interceptor.max_message_size
        )
        if self._ended is not None:
            upstream.abort()
            raise ChannelError(self._ended)
        upstream.check()
        client = self._interceptor.wire.parser(_CLIENT)
        if client is not None:
            upstream.opcode = client.data_opcode
        return upstream

    async def _silence(self) -> None:
        """Wait until what the client has got ends with a whole message."""
        while True:
            with self._acting():
                reframer = await self._down.boundary()
                self._down.drain()
                if reframer.clean:
                    return

    def _swap(self, upstream: UpstreamConnection, plan: RestartPlan, name: str | None) -> Restarted:
        """Put the client on the new connection, between two messages of either direction."""
        with self._acting():
            if self._up.close_is_kept:
                raise ChannelError("the client has left")
            upward = self._reframe(self._up)
            transport = upstream.hand_over()
            dismiss(self._connection.replace_upstream(transport))
            upward.make_plain()  # the new server has agreed to no compression
            self._interceptor.wire.renew_server(upstream.reframer.parser)
            if plan.fresh:
                self._interceptor.server_replaced()
            upstream.reframer.handler = self
            self._down.follow(upstream.reframer)
            replaced = None if plan.request is None else plan.replaces
            self._carry_out(self._mediator.restarted(plan.session_id, name, replaced))
            request = None
            if plan.request is not None:
                request = self.request(*plan.request, replaces=plan.replaces)
            return Restarted(name, request)

    def _send_off(self, why: str) -> None:
        """Close the client's connection properly: the server is gone for good."""
        if self._ended is not None:
            return
        self._end(f"the server is gone, and a restart failed: {why}")
        reframer = self._down.reframer
        if reframer is not None and reframer.clean:
            reason = f"restart failed: {why}".encode()[:_MAX_REASON].decode(errors="ignore")
            payload = _INTERNAL_ERROR + reason.encode()
            self._down.insert_frame(plain_frame(payload, Opcode.CLOSE, masked=False))
        self._connection.client.close()

    def _end(self, why: str) -> None:
        """Be of no use any more: what was held back from the client goes out."""
        if self._ended is None:
            self._ended = why
            commands: list[Command] = self._mediator.end(why)
            with contextlib.suppress(ChannelError):
                self._carry_out(commands)


def _payload(verdict: Verdict, payload: bytes) -> bytes | None:
    """Return what passes in the place of a message."""
    match verdict:
        case Forward():
            return payload
        case Hold():
            return None
        case _:
            return verdict.payload
