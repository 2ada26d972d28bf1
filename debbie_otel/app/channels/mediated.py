"""What channels have in common: a mediator's commands, and who waits for the answers."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Answer, Request
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.intervention.mediator import (
    FORWARD,
    Command,
    Inject,
    Mediator,
    Resolve,
    Show,
    Verdict,
)
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, MessageType
from debbie_otel.session.model import Call


class PendingAnswers:
    """Who waits for the answers to injected requests; each on its own event loop."""

    def __init__(self) -> None:
        self._waiting: dict[JsonRpcId, asyncio.Future[Answer]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def new(self, request: JsonRpcId) -> Request:
        """Return a request whose answer is waited for."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answer
        return Request(request, answer)

    def forget(self, request: JsonRpcId) -> None:
        """Wait no more for an answer that nobody was told of."""
        self._waiting.pop(request, None)

    def resolve(self, request: JsonRpcId, answer: InterceptedMessage | None, why: str = "") -> bool:
        """Hand over an answer, or say why none comes; return whether it was waited for."""
        waiting = self._waiting.pop(request, None)
        if waiting is None:
            return False
        call_on(waiting.get_loop(), partial(_settle, waiting, answer, why))
        return True

    def fail(self, why: str) -> None:
        """Say that none of them comes."""
        for request in list(self._waiting):
            self.resolve(request, None, why)


def _settle(waiting: asyncio.Future[Answer], message: InterceptedMessage | None, why: str) -> None:
    if waiting.done():
        return
    if message is not None:
        waiting.set_result(read_answer(message))
    else:
        waiting.set_exception(ChannelError(why))
        waiting.exception()  # it may be that nobody waits for it


def read_answer(message: InterceptedMessage) -> Answer:
    """Return a response as strategies get it."""
    if message.type is not MessageType.ERROR:
        return Answer(result=message.decoded("result"), raw=message.payload)
    error = message.error_object()
    code = "" if error.code is None else f"{error.code}: "
    return Answer(error=f"{code}{error.message}" or "an error without a word", raw=message.payload)


class MediatedChannel(ABC):
    """A `Channel` that carries out the commands of a mediator.

    Args:
        interceptor: Observes the connection.

    """

    def __init__(self, interceptor: WebSocketInterceptor) -> None:
        self._interceptor = interceptor
        self._model = interceptor.connection
        self._mediator = Mediator(self._model)
        self._answers = PendingAnswers()
        self._ended: str | None = None

    @property
    def key(self) -> str:
        """The connection's key."""
        return self._model.key

    @property
    def ended(self) -> str | None:
        """Why nothing can be sent any more; see `Channel.ended`."""
        return self._ended

    @property
    def no_restart(self) -> str:
        """Why `restart` cannot succeed; see `Channel.no_restart`."""
        return ""

    # -- what strategies do ------------------------------------------------------------------

    def request(self, method: str, params: Any, *, replaces: Call | None = None) -> Request:
        """Send a request; see `Channel.request`."""
        with self._acting():
            self._look(to_server=True)
            request_id, commands = self._mediator.request(method, params, replaces)
            request = self._answers.new(request_id)
            try:
                self._carry_out(commands)
            except ChannelError as error:
                self._carry_out(self._mediator.unsent(request_id, str(error)))
                raise
            return request

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; see `Channel.notify`."""
        with self._acting():
            self._carry_out(self._mediator.notify(method, params))

    @abstractmethod
    def attend(self) -> None:
        """Let no answer pass unseen; see `Channel.attend`."""

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to a request; see `Channel.hold`."""
        with self._acting():
            self._look()
            self._mediator.hold(call)

    def release(self, call: Call) -> None:
        """Let a held answer through; see `Channel.release`."""
        with self._acting(ended_is_fine=True):
            self._carry_out(self._mediator.release(call))

    def answer(self, call: Call, answer: Answer) -> None:
        """Answer a held request in the server's place; see `Channel.answer`."""
        with self._acting():
            self._carry_out(self._mediator.answer(call, answer.raw))

    def fail(self, call: Call, text: str) -> None:
        """Answer a held request with an error; see `Channel.fail`."""
        with self._acting():
            self._carry_out(self._mediator.fail(call, text))

    # -- where connections differ ------------------------------------------------------------

    @contextlib.contextmanager
    def _acting(self, *, ended_is_fine: bool = False) -> Iterator[None]:
        """Do within what a strategy wants; raises ChannelError where the connection has ended."""
        if self._ended is not None and not ended_is_fine:
            raise ChannelError(self._ended)
        yield

    @abstractmethod
    def _look(self, *, to_server: bool = False) -> None:
        """Look at each message of the server's before it passes (and at the client's, too).

        Raises:
            ChannelError: That is not possible.

        """

    @abstractmethod
    def _inject(self, command: Inject) -> None:
        """Have a peer get a message; raises ChannelError if the server cannot."""

    @abstractmethod
    def _show(self, command: Show) -> None:
        """Have the observer know of a message."""

    # -- inside ------------------------------------------------------------------------------

    def _carry_out(self, commands: Iterable[Command]) -> Verdict:
        """Carry out commands in their order; return what becomes of the message itself."""
        verdict: Verdict = FORWARD
        for command in commands:
            match command:
                case Inject():
                    self._inject(command)
                case Show():
                    self._show(command)
                case Resolve(request, answer, why):
                    self._answers.resolve(request, answer, why)
                case _:
                    verdict = command
        return verdict
