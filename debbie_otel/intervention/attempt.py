"""One attempt: what a strategy has in its hands, and the executor that carries it out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.detection.loops import LoopSteps
from debbie_otel.errors import FailOpen, RecoveredFirst
from debbie_otel.intervention.channel import Channel, Request
from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.prompts import prompt_for
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.intervention.steps import Done
from debbie_otel.session import events as ev
from debbie_otel.session.connection import Connection
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.templates import Act, fill
from debbie_otel.session.event_bus import EventBus, Subscriber, Unsubscribe
from debbie_otel.session.model import Call, Clock
from debbie_otel.session.record import SessionRecords
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

_CLIENT = MessageDirection.CLIENT_TO_SERVER


class Reach(msgspec.Struct, frozen=True):
    """A live session and the way there."""

    session: Session
    connection: Connection
    channel: Channel


class LiveSessions(Protocol):
    """The sessions, and what the composition (`app.runtime`) knows of them."""

    def reach(self, session_id: str) -> Reach | None:
        """Return a live session and the way to it; None where it cannot be acted on."""

    def calls_of(self, session: Session) -> Iterable[Call]:
        """Return the open requests of a session, on whatever connection."""

    def loop_steps(self, session_id: str) -> LoopSteps | None:
        """Return the calls that would be more of the same; None without a loop."""

    def agent_memory(self) -> int:
        """Return the bytes that the agent's process has; 0 where they are not known."""

    def subscribe(self, subscriber: Subscriber[ev.Event], *kinds: type[ev.Event]) -> Unsubscribe:
        """Have events told on Debbie's event loop, whatever thread they come on."""


class Environment(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What interventions need of the rest of Debbie.

    Attributes:
        sessions: Those that are alive, and what is known of them.
        events: Tells of all events, on the thread of the wire; attempts are told there.
        clock: Tells the time.
        guard: What happens when Debbie's own code fails.
        environ: Variables with secrets.
        records: What sessions lately did.
        capture: Whether scripts and people may see what was said.

    """

    sessions: LiveSessions
    events: EventBus
    clock: Clock
    guard: FailOpen
    records: SessionRecords
    environ: Mapping[str, str] = {}
    capture: bool = False


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
        settled: Waits until no turn of a session is open; False if that takes too long.
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
    settled: Callable[[Session], Awaitable[bool]]
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
            TimeoutError: The server did not take it up.
            RecoveredFirst: The agent has gone on meanwhile.

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


Strategy = Callable[[Attempt], Awaitable[Done | bool | None]]
"""Something that is done to a live session. It returns what it did: True or None for that it acted,
False for that it failed. This is what `register_strategy` takes, and what the built-in ones are."""

Advisor = Callable[[AnomalyAlert, Session | None], Awaitable[Done]]
"""Something that is done about an alert without touching its session, which may be gone."""


def is_asked_in(call: Call, session: Session) -> bool:
    """Tell whether a request is the client's own, in this session."""
    return call.session is session.info and call.direction is _CLIENT and not call.injected


class InterventionExecutor:
    """Carries strategies out.

    Args:
        config: Texts and times.
        sessions: Those that can be acted on.
        strategies: Built-in ones, by name.
        advisors: Likewise.
        custom: Those of the user, by name; `register` adds to them.

    """

    def __init__(
        self,
        config: InterventionConfig,
        sessions: LiveSessions,
        strategies: Mapping[str, Strategy] | None = None,
        advisors: Mapping[str, Advisor] | None = None,
        custom: dict[str, Strategy] | None = None,
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._strategies = dict(strategies or {})
        self._advisors = dict(advisors or {})
        self._custom = {} if custom is None else custom

    def register(self, name: str, strategy: Strategy) -> None:
        """Make a callable known as the strategy `custom:NAME`."""
        self._custom[name] = strategy

    def reach(self, session_id: str) -> Reach | None:
        """Return a live session and the way there."""
        return self._sessions.reach(session_id)

    def is_cut_off(self, session_id: str) -> bool:
        """Tell whether nothing can reach a session any more."""
        reach = self._sessions.reach(session_id)
        return reach is None or reach.channel.ended is not None

    async def execute(
        self, alert: AnomalyAlert, strategy: str, number: int, watch: RecoveryWatch, now_ns: int
    ) -> Done:
        """Carry a strategy out.

        Args:
            alert: Why.
            strategy: `InterventionStrategy`, or `custom:NAME`.
            number: Attempts at this session before this one.
            watch: Tells whether the agent has gone on meanwhile.
            now_ns: When.

        Raises:
            RecoveredFirst: It has, before anything was sent.

        """
        reach = self._sessions.reach(alert.session_id)
        advisor = self._advisors.get(strategy)
        if advisor is not None:
            return await advisor(alert, None if reach is None else reach.session)
        act = self._strategies.get(strategy) or self._custom.get(strategy.removeprefix("custom:"))
        if act is None:
            return Done.impossible("unknown", f"nothing is known as {strategy}")
        if reach is None:
            detail = "the session is on no connection that can be acted on"
            return Done.impossible("no_channel", detail)
        return _done(await act(self._attempt(alert, reach, number, watch, now_ns)), strategy)

    def _attempt(
        self, alert: AnomalyAlert, reach: Reach, number: int, watch: RecoveryWatch, now_ns: int
    ) -> Attempt:
        session, connection = reach.session, reach.connection
        calls = (call for call in connection.pending_calls if is_asked_in(call, session))
        return Attempt(
            alert=alert,
            session=session,
            dialect=connection.dialect,
            channel=reach.channel,
            calls=tuple(sorted(calls, key=lambda call: call.started_ns)),
            others=sum(
                other is not session and other.live and connection.is_used(other)
                for other in connection.sessions
            ),
            kept=connection.kept,
            config=self._config,
            settled=self._settled,
            number=number,
            watch=watch,
            now_ns=now_ns,
        )

    async def _settled(self, session: Session) -> bool:
        """Wait until no turn of a session is open; False if that takes too long."""
        idle = asyncio.Event()

        def look(event: Any) -> None:
            if event.session is session.info and not session.busy:
                idle.set()

        unsubscribe = self._sessions.subscribe(look, ev.TurnEnded)
        try:
            if session.busy:
                async with asyncio.timeout(self._config.request_timeout):
                    await idle.wait()
        except TimeoutError:
            return False
        finally:
            unsubscribe()
        return True


def _done(result: Done | bool | None, strategy: str) -> Done:
    if isinstance(result, Done):
        return result
    if result is False:
        return Done.failed("custom", f"{strategy} says that it failed")
    return Done.acted(f"{strategy} has run")
