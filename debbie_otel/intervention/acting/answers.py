"""What becomes of a server's answers: those to requests of ours, and those that are held back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.acting.pending_requests import MAX_OUTSTANDING, Outstanding
from debbie_otel.intervention.channel import Request
from debbie_otel.session.connection import Connection
from debbie_otel.session.edit import members_of_batch, with_id
from debbie_otel.session.encode import encode_error, encode_result
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, MessageType, parse_payload
from debbie_otel.session.model import Call
from debbie_otel.wire.direction import MessageDirection

_SERVER = MessageDirection.SERVER_TO_CLIENT
_GIVEN_UP = -32000


class _Hold(msgspec.Struct, eq=False):
    """The server's answer to a request of the client's; None until it has come.

    Once the client has got another one in its place (`replaced`), this one is kept from it. With
    `gone`, none will come: the server that owed it has been replaced.
    """

    call: Call
    answer: bytes | None = None
    replaced: bool = False
    gone: bool = False


class Answers:
    """The answers that are expected on one connection, and who gets them.

    Args:
        model: Of the connection.
        give: Gives the client a message of ours, or one that was held back.
        tell: Shows the observer a message that is not seen on the wire.

    """

    def __init__(
        self, model: Connection, give: Callable[[bytes], None], tell: Callable[[bytes], None]
    ) -> None:
        self._model = model
        self._give = give
        self._tell = tell
        self._outstanding = Outstanding()
        self._replaces: dict[JsonRpcId, Call] = {}  # by the id of the request of ours
        self._held: dict[JsonRpcId, _Hold] = {}

    def __bool__(self) -> bool:
        """Whether any message may be for us."""
        return bool(self._outstanding or self._held)

    def new(self, replaces: Call | None = None) -> Request:
        """Expect the answer to a request that is about to be sent; see `Channel.request`.

        Raises:
            ChannelError: Too many wait already.

        """
        request = self._outstanding.new(
            {call.id for call in self._model.pending_calls}, numbered=self._model.numbered
        )
        if replaces is not None and self._hold_of(replaces) is None:
            if replaces.ended_ns is not None:
                replaces = None  # it has its answer already
            else:
                try:
                    self.hold(replaces)
                except ChannelError:
                    self._outstanding.forget(request)
                    raise
        if replaces is not None:
            self._replaces[request.id] = replaces
        self._model.expect(request.id)
        return request

    def forget(self, request: Request, why: str) -> None:
        """Expect no answer: the request could not be sent."""
        call = self._replaces.get(request.id)
        self._outstanding.forget(request, why)
        if call is not None:
            self.release(call)

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to a request; see `Channel.hold`."""
        if call.ended_ns is not None:
            raise ChannelError("the request has been answered already")
        if len(self._held) >= MAX_OUTSTANDING:
            raise ChannelError(f"{MAX_OUTSTANDING} answers are held back already")
        self._held.setdefault(call.id, _Hold(call))

    def release(self, call: Call) -> None:
        """Let a held answer through; see `Channel.release`."""
        hold = self._hold_of(call)
        if hold is None or hold.replaced:
            return
        # The client gets one answer, not two.
        self._replaces = {ours: c for ours, c in self._replaces.items() if c is not call}
        del self._held[call.id]
        if hold.answer is not None:
            self._give(hold.answer)
        elif hold.gone:
            self.refuse(call)

    def refuse(self, call: Call) -> None:
        """Answer a request of the client's with an error: the server that owed it is gone."""
        self._give(given_up(call))
        self._tell(given_up(call))

    def answer(self, call: Call, result: Any) -> None:
        """Answer a held request in the server's place; see `Channel.answer`."""
        self._replace(call, encode_result(call.raw_id, result, versioned=call.versioned))

    def fail(self, call: Call, text: str) -> None:
        """Answer a held request with an error; see `Channel.fail`."""
        self._replace(call, encode_error(call.raw_id, _GIVEN_UP, text, versioned=call.versioned))

    def _replace(self, call: Call, payload: bytes) -> None:
        hold = self._hold_of(call)
        if hold is None or hold.replaced:
            raise ChannelError("the request is not held, or has been answered already")
        if hold.answer is None and not hold.gone:
            hold.replaced = True
        else:
            del self._held[call.id]
        self._give(payload)
        if call.ended_ns is None:
            self._tell(payload)

    def start_over(self, why: str, kept: Call | None) -> None:
        """Expect nothing any more of a server that has been replaced.

        Args:
            why: Told to those who wait for answers to requests of ours.
            kept: A request of the client's that the new server is about to be asked. All others
                are answered: by what was held back, or with an error.

        """
        for payload in self.end(why, kept):
            self._give(payload)
        if kept is not None and (kept.ended_ns is None or self._hold_of(kept) is not None):
            self._held.setdefault(kept.id, _Hold(kept)).gone = True
        for call in self._model.pending_calls:
            if call.direction is not _SERVER and call is not kept:
                if call.injected:
                    self._tell(given_up(call))
                else:
                    self.refuse(call)

    def end(self, why: str, kept: Call | None = None) -> list[bytes]:
        """Give everything up; return the answers that were held back and have come.

        Args:
            why: Told to those who wait for answers to requests of ours.
            kept: What is held back of this request stays so.

        """
        held = [hold for hold in self._held.values() if hold.call is not kept]
        self._held = {key: hold for key, hold in self._held.items() if hold.call is kept}
        self._replaces.clear()
        self._outstanding.fail(why)
        return [hold.answer for hold in held if hold.answer is not None and not hold.replaced]

    # -- what the server says ------------------------------------------------------------------

    def decide(self, payload: bytes) -> bytes | None:
        """Return what the client gets instead of a message; the same, another one, or None."""
        if not self:
            return payload
        messages = parse_payload(payload, _SERVER, 0)
        if len(messages) == 1 and payload.lstrip()[:1] != b"[":
            return self._verdict(messages[0], payload)
        return self._decide_batch(messages, payload)

    def _decide_batch(self, messages: list[InterceptedMessage], payload: bytes) -> bytes | None:
        """Take what is not for the client out of a batch."""
        members = members_of_batch(payload)
        if len(members) != len(messages):
            return payload
        verdicts = [self._verdict(*pair) for pair in zip(messages, members, strict=True)]
        if all(verdict is member for verdict, member in zip(verdicts, members, strict=True)):
            return payload
        left = [verdict for verdict in verdicts if verdict is not None]
        return b"[" + b",".join(left) + b"]" if left else None

    def _verdict(self, message: InterceptedMessage, raw: bytes) -> bytes | None:
        """Return what the client gets in the place of a message; `raw` itself for the same."""
        if message.method is not None or message.id is msgspec.UNSET:
            return raw
        if self._outstanding.take(message):
            return self._answered(message, raw)
        hold = self._held.get(message.id)
        if hold is None:
            return raw
        if hold.replaced:
            del self._held[message.id]
        else:
            hold.answer = raw
        return None

    def _answered(self, message: InterceptedMessage, raw: bytes) -> bytes | None:
        """Return what the client gets of the answer to a request of ours."""
        call = self._replaces.pop(None if message.id is msgspec.UNSET else message.id, None)
        if call is None:
            return None
        hold = self._hold_of(call)
        if message.type is MessageType.ERROR and not (hold is not None and hold.gone):
            self.release(call)
            return None
        if hold is not None:
            hold.replaced = True
            if hold.answer is not None or hold.gone:  # it is needed no more
                del self._held[call.id]
        answer = with_id(raw, call.raw_id)
        if call.ended_ns is None:
            self._tell(answer)
        return answer

    def _hold_of(self, call: Call) -> _Hold | None:
        hold = self._held.get(call.id)
        return hold if hold is not None and hold.call is call else None


def given_up(call: Call) -> bytes:
    """Return the error that answers a request whose server has been replaced."""
    text = "the session was restarted, and this request was given up"
    return encode_error(call.raw_id, _GIVEN_UP, text, versioned=call.versioned)
