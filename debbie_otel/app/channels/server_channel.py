"""ServerChannel: acts on a connection of which this process is the server.

What is said, the program receives as if its client had said it; its answer never leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

from debbie_otel.app.channels.program_channel import NOT_SENT, Home, ProgramChannel
from debbie_otel.app.program_interceptor import ProgramInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import SideChannel
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.transports.program.injection import deliver, inject
from debbie_otel.transports.program.observed import Observed
from debbie_otel.wire.direction import MessageDirection

_GIVE_SECONDS = 1.0


class ServerChannel(ProgramChannel):
    """A `Channel` for the server's end of a connection of websockets.

    Args:
        connection: Of websockets.
        link: What stands before it.
        interceptor: Observes it.
        home: Returns Debbie's event loop; None while she does not run.

    """

    def __init__(
        self, connection: Any, link: Observed, interceptor: ProgramInterceptor, home: Home
    ) -> None:
        super().__init__(connection, link, interceptor, link.outgoing, home)

    async def side(self) -> SideChannel:
        """Say that this cannot be done: who opens connections here is the client."""
        raise ChannelError("a server has no connection to itself beside its client's")

    async def stop(self) -> None:
        """Act no more; what was held back leaves, if the client takes it."""
        self.closed()
        await asyncio.sleep(0)  # what was given on another thread is begun then
        if self._last is not None:
            await asyncio.wait([self._last], timeout=_GIVE_SECONDS)
        await super().stop()

    async def _say(self, payload: bytes) -> None:
        with self._acting(ended_is_fine=True):
            self._tell(MessageDirection.CLIENT_TO_SERVER, payload)
        deliver(self._connection, self._link, payload)

    def _give(self, payload: bytes) -> None:
        if (home := self._home()) is not None:  # else nothing was ever held back
            call_on(home, partial(self._begin_to_give, payload))

    def _begin_to_give(self, payload: bytes) -> None:
        giving = self._give_after(self._last, payload)
        self._last = self._tasks.start(giving, f"an answer held back on {self.key}")

    async def _give_after(self, before: asyncio.Task[None] | None, payload: bytes) -> None:
        if before is not None:
            await asyncio.wait([before])
        with self._link.outgoing.exempting(payload), contextlib.suppress(*NOT_SENT):
            await inject(self._connection, payload.decode())
