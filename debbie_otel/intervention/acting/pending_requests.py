"""Requests of ours that wait for their answers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from functools import partial

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import Answer, Request
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, MessageType

MAX_OUTSTANDING = 32
"""Requests of ours that may wait on one connection."""


class Outstanding:
    """The open requests of ours on one connection.

    Their ids begin with random bits that nobody else can know, and are checked against those that
    are open all the same. They are numbers where the client's are: some bridges (supergateway) make
    null of any other, and the answer would never be known as ours.
    """

    def __init__(self) -> None:
        self._prefix = f"debbie-{secrets.token_hex(8)}-"
        self._first = secrets.randbelow(1 << 51) + (1 << 51)  # JavaScript counts to 2^53
        self._number = 0
        self._answers: dict[JsonRpcId, asyncio.Future[Answer]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, call_id: JsonRpcId) -> bool:
        return call_id in self._answers

    def new(self, taken: Collection[JsonRpcId] = (), *, numbered: bool = False) -> Request:
        """Return a new request, with an id that is not taken; a number if it is to be `numbered`.

        Raises:
            ChannelError: Too many wait already.

        """
        if len(self._answers) >= MAX_OUTSTANDING:
            raise ChannelError(f"{MAX_OUTSTANDING} requests of ours wait for their answers already")
        while True:
            self._number += 1
            number = self._number
            call_id = self._first + number if numbered else f"{self._prefix}{number}"
            if call_id not in taken:
                break
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[call_id] = answer
        return Request(call_id, answer)

    def forget(self, request: Request, why: str | None = None) -> None:
        """Expect no answer: the request could not be sent; `why` is told to who waits for it."""
        answer = self._answers.pop(request.id, None)
        if answer is not None and why is not None:
            call_on(answer.get_loop(), partial(_fail, answer, why))

    def take(self, message: InterceptedMessage) -> bool:
        """Take a message in if it is the answer to one of them; return whether it is."""
        if message.method is not None or not isinstance(message.id, str | int):
            return False
        answer = self._answers.pop(message.id, None)
        if answer is None:
            return False
        call_on(answer.get_loop(), partial(_settle, answer, _answer(message)))
        return True

    def fail(self, why: str) -> None:
        """Give all of them up."""
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            call_on(answer.get_loop(), partial(_fail, answer, why))


def _settle(answer: asyncio.Future[Answer], found: Answer) -> None:
    if not answer.done():
        answer.set_result(found)


def _fail(answer: asyncio.Future[Answer], why: str) -> None:
    if not answer.done():
        answer.set_exception(ChannelError(why))
        answer.exception()  # it may be that nobody waits for it


def _answer(message: InterceptedMessage) -> Answer:
    if message.type is not MessageType.ERROR:
        return Answer(result=message.decoded("result"))
    error = message.rpc_error()
    code = "" if error.code is None else f"{error.code}: "
    return Answer(error=f"{code}{error.message}" or "an error without a word")
