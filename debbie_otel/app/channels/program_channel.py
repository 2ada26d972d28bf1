"""ProgramChannel: acts on a connection of this process's own, whichever end of it that is.

What comes back for an injected request is held back by a filter of the link's, which is there only
as long as something is expected. Debbie's event loop may be another than the program's, which may
have none.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed

from debbie_otel.app.channels.mediated import MediatedChannel
from debbie_otel.app.program_interceptor import ProgramInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Restarted, RestartPlan, SideChannel
from debbie_otel.intervention.mediator import Forward, Hold, Inject, Show
from debbie_otel.transports.program.message_filter import Sieve
from debbie_otel.transports.program.observed import Observed
from debbie_otel.transports.tasks import TaskSet
from debbie_otel.wire.direction import MessageDirection

Home = Callable[[], asyncio.AbstractEventLoop | None]
_CLOSED = "the connection is closed"
_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
NOT_SENT = (ConnectionClosed, OSError, RuntimeError, ReferenceError)
"""What says that a connection takes no message any more."""


class ProgramChannel(MediatedChannel):
    """A `Channel` for a connection of websockets.

    Strategies call it on Debbie's event loop, but for `attend`, `hold` and `release`.

    Args:
        connection: Of websockets.
        link: What stands before it.
        interceptor: Observes it.
        answers: Where the server's messages come by.
        home: Returns Debbie's event loop; None while it does not run.

    """

    _interceptor: ProgramInterceptor

    def __init__(
        self,
        connection: Any,
        link: Observed,
        interceptor: ProgramInterceptor,
        answers: Sieve,
        home: Home,
    ) -> None:
        super().__init__(interceptor)
        self._connection = connection
        self._link = link
        self._sieve = answers
        self._home = home
        self._attentive = False
        self._tasks = TaskSet()
        self._last: asyncio.Task[None] | None = None
        link.on_end = self.closed

    def attend(self) -> None:
        """Look at each answer before it passes; see `Channel.attend`."""
        with self._acting(ended_is_fine=True):
            self._attentive = self._ended is None

    @property
    def no_restart(self) -> str:
        """Why `restart` cannot succeed: the program's library owns the connection."""
        return "a connection cannot be restarted in-process"

    @abstractmethod
    async def side(self) -> SideChannel:
        """Open another connection to the server; see `Channel.side`."""

    async def restart(self, plan: RestartPlan) -> Restarted:  # noqa: ARG002
        """Say that this cannot be done: the program's library owns the connection."""
        raise ChannelError(self.no_restart)

    # -- what the connection tells, on its own thread --------------------------------------------

    def closed(self) -> None:
        """Take note that the connection is gone, or not observed any more."""
        with self._interceptor.lock:
            if self._ended is not None:
                return
            self._ended = _CLOSED
            self._sieve.filter = None
            self._carry_out(self._mediator.end(_CLOSED))
            self._interceptor.channel = None

    async def stop(self) -> None:
        """Act no more: what is under way is given up."""
        self.closed()
        await self._tasks.cancel()

    def _decide(self, payload: bytes) -> bytes | None:
        with self._acting(ended_is_fine=True):
            verdict = self._carry_out(self._mediator.server_sent(payload))
        match verdict:
            case Forward():
                return payload
            case Hold():
                return None
            case _:
                return verdict.payload

    # -- where the two ends differ -----------------------------------------------------------

    @abstractmethod
    async def _say(self, payload: bytes) -> None:
        """Have the server get a message between two of the client's; raises one of `NOT_SENT`."""

    @abstractmethod
    def _give(self, payload: bytes) -> None:
        """Have the client get a message, if it still can; on any thread. Nobody observes it."""

    # -- inside ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _acting(self, *, ended_is_fine: bool = False) -> Iterator[None]:
        """Hold the lock; the model knows all that was sent and received."""
        with self._interceptor.lock:
            self._interceptor.catch_up()
            with super()._acting(ended_is_fine=ended_is_fine):
                yield
            self._watch()

    def _look(self, *, to_server: bool = False) -> None:
        """Do nothing: `_watch` follows each act."""

    def _watch(self) -> None:
        """Look at what the server says as long as something of it may be held back."""
        if self._ended is None:
            wanted = self._mediator.expects_answers or self._attentive
            self._sieve.filter = self._decide if wanted else None

    def _inject(self, command: Inject) -> None:
        if command.direction is _SERVER:
            self._give(command.payload)
            return
        # One after the other, in the order in which they were asked for.
        sending = self._say_after(self._last, command)
        self._last = self._tasks.start(sending, f"intervention on {self.key}")

    async def _say_after(self, before: asyncio.Task[None] | None, command: Inject) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._say(command.payload)
        except NOT_SENT as error:
            if command.request is not None:
                with self._acting(ended_is_fine=True):
                    why = f"it could not be sent: {error}"
                    self._carry_out(self._mediator.unsent(command.request, why))

    def _show(self, command: Show) -> None:
        """Show what is not seen here; what is said to the server is, when it is sent."""
        if command.direction is _SERVER:
            self._tell(_SERVER, command.payload)

    def _tell(self, direction: MessageDirection, payload: bytes) -> None:
        self._interceptor.message_received(direction, payload, self._interceptor.clock())
        self._interceptor.catch_up()
