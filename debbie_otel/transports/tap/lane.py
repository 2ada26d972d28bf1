"""One direction of a tapped connection, re-framed as long as somebody needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.intervention.channel import ChannelError
from debbie_otel.transports.tap.flow import Flow
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import CloseSeen, FrameEvent, PayloadSeen, PayloadSkipped
from debbie_otel.wire.reframe import Reframer

_CLIENT = MessageDirection.CLIENT_TO_SERVER


class Lane:
    """Diverts a flow through a `Reframer`, and ends that when it is needed no longer.

    While it does, the interceptor is told of messages instead of bytes.

    Args:
        flow: The direction.
        interceptor: Observes the connection; its parsers are at the flow's last byte.
        decide: Says what becomes of a message; see `MessageHandler.message`.
        closing: Says what becomes of a close frame; see `MessageHandler.closing`.
        needed: Whether there is still something to decide.
        report: Told when our own code has failed.

    """

    def __init__(
        self,
        flow: Flow,
        interceptor: WebSocketInterceptor,
        decide: Callable[[PayloadSeen], bytes | None],
        closing: Callable[[CloseSeen], bool],
        needed: Callable[[], bool],
        report: Callable[[Exception], None],
    ) -> None:
        self.flow = flow
        self._interceptor = interceptor
        self._decide = decide
        self._closing = closing
        self._needed = needed
        self._report = report
        self._reframer: Reframer | None = None
        self._reached: asyncio.Future[None] | None = None

    @property
    def reframer(self) -> Reframer | None:
        """What the bytes go through; None while they are spliced."""
        return self._reframer

    def start(self) -> Reframer:
        """Re-frame from the next byte on.

        Raises:
            ChannelError: The bytes cannot be followed, or no message can follow any more.

        """
        parser = self._interceptor.wire.parser(self.flow.direction)
        if parser is None:
            why = self._interceptor.wire.inspection_stopped or "it is no WebSocket (yet)"
            raise ChannelError(f"the connection cannot be followed: {why}")
        if parser.ended or self.flow.ended:
            raise ChannelError("the connection is being closed")
        if self._reframer is None:
            self.use(Reframer(parser, self, masked=self.flow.direction is _CLIENT))
        assert self._reframer is not None
        return self._reframer

    def use(self, reframer: Reframer) -> None:
        """Send the bytes through this from now on."""
        reframer.handler = self
        self._reframer = reframer
        self.flow.divert(self)

    async def boundary(self) -> Reframer:
        """Wait until what has come out ends with a whole message; it does so from then on.

        Unless a message comes that is too large to be kept. Raises as `start` does.
        """
        reframer = self._reframer or self.start()
        while not reframer.clean:
            self._reached = asyncio.get_running_loop().create_future()
            await self._reached
        return reframer

    def insert(self, payload: bytes) -> None:
        """Put a message of ours in, at the next boundary; raises as `start` does."""
        self.flow.insert(self.start().insert(payload))
        self.settle()

    def settle(self) -> None:
        """Go back to splicing if nothing is to be done and nothing is in between."""
        reframer = self._reframer
        if reframer is None or (self._needed() and reframer.lost is None):
            return
        rest = reframer.stop()
        if rest is not None:
            self._reframer = None
            self.flow.straighten()
            self.flow.insert(rest)

    def leave(self) -> None:
        """Let go of the flow, which is over, and of whom to ask: no reference cycle is left."""
        self.flow.straighten()
        self._reframer = None
        if self._reached is not None and not self._reached.done():
            self._reached.set_exception(ChannelError("the connection is closed"))
        self._decide, self._closing, self._needed = _unchanged, _yes, _no

    # -- as a diversion ----------------------------------------------------------------------

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take bytes that have come in; yield those to pass on."""
        return iter((data,)) if self._reframer is None else self._reframer.receive(data)

    def drained(self) -> None:
        """See whether the re-framing can end."""
        if self._reframer is not None and self._reframer.lost is not None:
            self._interceptor.cannot_follow(self._reframer.lost)
        if self._reached is not None and not self._reached.done():
            self._reached.set_result(None)
        self.settle()

    def finish(self) -> bytes:
        """Return what is kept of a message whose sender has ended."""
        return b"" if self._reframer is None else self._reframer.finish()

    # -- as a handler of messages ----------------------------------------------------------------

    def message(self, seen: PayloadSeen) -> bytes | None:
        """Say what becomes of a message."""
        return self._decide(seen)

    def closing(self, seen: CloseSeen) -> bool:
        """Say what becomes of a close frame."""
        return self._closing(seen)

    def passed(self, event: FrameEvent) -> None:
        """Tell the interceptor of what passes in any case."""
        interceptor = self._interceptor
        if isinstance(event, PayloadSeen):
            interceptor.message_received(event.direction, event.payload, interceptor.clock())
        elif isinstance(event, PayloadSkipped):
            now = interceptor.clock()
            interceptor.message_skipped(
                event.direction, event.head, event.size, now, event.reason, event.tail
            )

    def failed(self, error: Exception) -> None:
        """Report a failure of ours."""
        self._report(error)


def _unchanged(seen: PayloadSeen) -> bytes:
    return seen.payload


def _yes(_seen: CloseSeen) -> bool:
    return True


def _no() -> bool:
    return False
