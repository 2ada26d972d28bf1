"""One attempt: what a strategy has in its hands, and what it says it has done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.errors import RecoveredFirst
from debbie_otel.intervention.channel import Answer, Channel, Request
from debbie_otel.intervention.prompts import prompt_for
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.intervention.settings import InterventionConfig
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.templates import Act, fill
from debbie_otel.session.model import Call
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

_CLIENT = MessageDirection.CLIENT_TO_SERVER


class Done(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a strategy did; whether it helped is found out afterwards.

    Attributes:
        kind: `acted`: on the session, to be verified. `impossible`: nothing can be done in this
            way here. `failed`: it was tried and could not be done. `diagnosed`: something was
            found out. `escalated`: a person was told.
        detail: One sentence for people.
        reason: A word or two, where nothing came of it.
        text: The words that were sent.
        answer: Fails or carries an error if the server refuses what was sent.
        evidence: JSON, for the record.
        undo: Gives up what waits for a recovery; called where none came.

    """

    kind: Literal["acted", "impossible", "failed", "diagnosed", "escalated"]
    detail: str
    reason: str = ""
    text: str | None = None
    answer: asyncio.Future[Answer] | None = None
    evidence: dict[str, Any] = {}
    undo: Callable[[], None] | None = None


Settled = Callable[[Session], Awaitable[bool]]
"""Waits until no turn of a session is open; False if that takes too long."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a strategy has in its hands.

    Attributes:
        alert: Why.
        now_ns: When it begins.
        number: Attempts at this session before this one: prompts are rotated by it.
        session: Where.
        dialect: What is spoken there.
        channel: The way there.
        calls: The open requests of the client's in this session, the oldest first.
        others: Live sessions that the client speaks in by the same connection.
        kept: The client's handshake, by method.
        config: Texts and times.
        settled: Waits until no turn is open.
        watch: Tells whether the agent has gone on.

    """

    alert: AnomalyAlert
    now_ns: int
    number: int
    session: Session
    dialect: Dialect
    channel: Channel
    calls: tuple[Call, ...]
    others: int
    kept: dict[str, bytes]
    config: InterventionConfig
    settled: Settled
    watch: RecoveryWatch

    @property
    def turn_call(self) -> Call | None:
        """The client's request that opened a turn and waits for its answer."""
        return next((c for c in self.calls if c.opens_turn and c.direction is _CLIENT), None)

    def prompt(self, key: str | None = None) -> str:
        """Return the next prompt for the alert."""
        return prompt_for(self.config.prompts, self.alert, self.number, key)

    def say(self, text: str, *, busy: bool | None = None) -> tuple[Act, dict[str, Any]] | None:
        """Return the message that puts words into the session; None if the dialect has none.

        Args:
            text: The words.
            busy: Whether a turn is open; by default, whether one is now.

        """
        busy = self.session.busy if busy is None else busy
        for act in self.dialect.document.prompt:
            facts = self._facts(act, text)
            if act.suits(busy=busy) and facts is not None:
                return act, fill(act.params, facts)
        return None

    def cancels(self) -> list[tuple[Act, dict[str, Any]]]:
        """Return the messages that end what runs; none if nothing does."""
        found = []
        for act in self.dialect.document.cancel:
            if not act.suits(busy=self.session.busy):
                continue
            for call in self.calls if act.each == "call" else (None,):
                facts = self._facts(act, "", call)
                if facts is not None:
                    found.append((act, fill(act.params, facts)))
        return found

    async def send(
        self, act: Act, params: dict[str, Any], replaces: Call | None = None
    ) -> Request | None:
        """Send a message by the way that the dialect names; return the request that it was.

        Raises:
            ChannelError: It cannot be sent.
            TimeoutError: Nobody took it up.
            RecoveredFirst: There is no need for it any more.

        """
        if replaces is None and act.method in self.dialect.turn_rules:
            self.watch.beside(self.session, awaited=self.turn_call is not None)
        if act.channel == "same" and act.kind == "request":
            return self.channel.request(act.method, params, replaces=replaces)
        if act.channel == "same":
            self.channel.notify(act.method, params)
            return None
        async with asyncio.timeout(self.config.request_timeout):
            side = await self.channel.side()
            if self.watch.moved is not None:
                await side.close()
                raise RecoveredFirst
            if act.kind == "request":
                return side.request(act.method, params)
            side.notify(act.method, params)
            await side.close()
        return None

    async def cancel(self) -> list[Request]:
        """End what runs; return the requests that were sent for it.

        Raises:
            ChannelError: It cannot be sent.

        """
        refused = self.calls if self._cancels_calls() else ()
        for call in refused:
            self.channel.hold(call)
        sent = [await self.send(act, params) for act, params in self.cancels()]
        for call in refused:  # their server will not answer them, and their client waits
            self.channel.fail(call, "cancelled: the session was reset")
        return [request for request in sent if request is not None]

    def _cancels_calls(self) -> bool:
        acts = self.dialect.document.cancel
        return any(a.each == "call" and a.suits(busy=self.session.busy) for a in acts)

    def _facts(self, act: Act, text: str, call: Call | None = None) -> dict[str, Any] | None:
        """Return what the template's words stand for; None if one of them is not known."""
        turn = self.session.turn()
        facts = {
            "$session": None if self.session.info.unnamed else self.session.info.id,
            "$turn": None if turn is None else turn.id,
            "$text": text,
            "$call": None if call is None or call.id is None else call.raw_id,
        }
        missing = (word for word, fact in facts.items() if fact is None and act.needs(word))
        return None if next(missing, None) is not None else facts
