"""ProcessChannel: acts on a connection of this process's own, whichever end of it that is.

What comes back for a request of ours is held back by a sieve of the link's, whose filter is there
only as long as something is expected. Debbie's event loop may be another than the program's, which
may have none.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed

from debbie_otel.app.program_interceptor import SharedInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.acting.answers import Answers
from debbie_otel.intervention.channel import (
    Request,
    Restarted,
    RestartPlan,
    SideChannel,
)
from debbie_otel.session.encode import encode_message
from debbie_otel.session.model import Call
from debbie_otel.transports.program.message_filter import Sieve
from debbie_otel.transports.program.observed import Observed
from debbie_otel.transports.tasks import TaskSet
from debbie_otel.wire.direction import MessageDirection

Home = Callable[[], asyncio.AbstractEventLoop | None]
_CLOSED = "the connection is closed"
NOT_SENT = (ConnectionClosed, OSError, RuntimeError, ReferenceError)
"""What says that a connection takes no message any more."""


class ProcessChannel(ABC):
    """A `Channel` for a connection of websockets.

    Args:
        connection: Of websockets.
        link: What stands before it.
        interceptor: Observes it.
        answers: Where the server's messages come by.
        home: Returns Debbie's event loop; None while she does not run.

    """

    def __init__(
        self,
        connection: Any,
        link: Observed,
        interceptor: SharedInterceptor,
        answers: Sieve,
        home: Home,
    ) -> None:
        self._connection = connection
        self._link = link
        self._interceptor = interceptor
        self._model = interceptor.connection
        self._lock = interceptor.lock
        self._sieve = answers
        self._answers = Answers(self._model, self._give, self._tell_answer)
        self._home = home
        self._attentive = False
        self._tasks = TaskSet()
        self._last: asyncio.Task[None] | None = None
        self._ended: str | None = None
        link.on_end = self.closed

    @property
    def key(self) -> str:
        """The connection's key."""
        return self._model.key

    @property
    def ended(self) -> str | None:
        """Why nothing can be sent any more; see `Channel.ended`."""
        return self._ended

    # -- what strategies do: on Debbie's event loop, but for `attend`, `hold` and `release` -------

    def request(self, method: str, params: Any, *, replaces: Call | None = None) -> Request:
        """Send a request; see `Channel.request`. If that fails, so does its answer."""
        with self._caught_up():
            self._check_open()
            request = self._answers.new(replaces)
            self._watch()
        self._send(method, params, request, replaces)
        return request

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; see `Channel.notify`."""
        self._check_open()
        self._send(method, params, None, None)

    def attend(self) -> None:
        """Look at each answer before it passes; see `Channel.attend`."""
        with self._lock:
            if self._ended is None:
                self._attentive = True
                self._watch()

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to a request; see `Channel.hold`."""
        with self._caught_up():
            self._check_open()
            self._answers.hold(call)
            self._watch()

    def release(self, call: Call) -> None:
        """Let a held answer through; see `Channel.release`."""
        with self._caught_up():
            self._answers.release(call)
            self._watch()

    def answer(self, call: Call, result: Any) -> None:
        """Answer a held request in the server's place; see `Channel.answer`."""
        with self._caught_up():
            self._check_open()
            self._answers.answer(call, result)
            self._watch()

    def fail(self, call: Call, text: str) -> None:
        """Answer a held request with an error; see `Channel.fail`."""
        with self._caught_up():
            self._check_open()
            self._answers.fail(call, text)
            self._watch()

    @abstractmethod
    async def side(self) -> SideChannel:
        """Open another connection to the server; see `Channel.side`."""

    async def restart(self, plan: RestartPlan) -> Restarted:  # noqa: ARG002
        """Say that this cannot be done: the program's library owns the connection."""
        raise ChannelError("a connection cannot be restarted in-process")

    # -- what the connection tells, on its own thread --------------------------------------------

    def closed(self) -> None:
        """Take note that the connection is gone, or not observed any more."""
        with self._lock:
            if self._ended is not None:
                return
            self._ended = _CLOSED
            self._sieve.filter = None
            for payload in self._answers.end(_CLOSED):
                self._give(payload)
            self._interceptor.channel = None

    async def stop(self) -> None:
        """Act no more: what is under way is given up."""
        self.closed()
        await self._tasks.cancel()

    def _decide(self, payload: bytes) -> bytes | None:
        with self._caught_up():
            decided = self._answers.decide(payload)
            self._watch()
            return decided

    # -- where the two ends differ -----------------------------------------------------------

    @abstractmethod
    async def _say(self, payload: bytes) -> None:
        """Have the server get a message between two of the client's; raises one of `NOT_SENT`."""

    @abstractmethod
    def _give(self, payload: bytes) -> None:
        """Have the client get a message, if it still can; on any thread. Nobody observes it."""

    # -- inside ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _caught_up(self) -> Iterator[None]:
        """Hold the lock; the model knows all that was sent and received."""
        with self._lock:
            self._interceptor.catch_up()
            yield

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ChannelError(self._ended)

    def _watch(self) -> None:
        """Look at what the server says as long as something of it may be for us."""
        self._sieve.filter = self._decide if self._answers or self._attentive else None

    def _send(
        self, method: str, params: Any, request: Request | None, for_call: Call | None
    ) -> None:
        versioned = self._model.versioned if for_call is None else for_call.versioned
        call_id = None if request is None else request.id
        payload = encode_message(method, params, call_id, versioned=versioned)
        # One after the other, in the order in which they were asked for.
        sending = self._say_after(self._last, payload, request)
        self._last = self._tasks.start(sending, f"intervention on {self.key}")

    async def _say_after(
        self, before: asyncio.Task[None] | None, payload: bytes, request: Request | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._say(payload)
        except NOT_SENT as error:
            if request is not None:
                with self._lock:
                    self._answers.forget(request, f"it could not be sent: {error}")
                    self._watch()

    def _tell_answer(self, payload: bytes) -> None:
        self._tell(MessageDirection.SERVER_TO_CLIENT, payload)

    def _tell(self, direction: MessageDirection, payload: bytes) -> None:
        """Show the observer a message that it does not see."""
        self._interceptor.message_received(direction, payload, self._interceptor.clock())
        self._interceptor.catch_up()
