"""InterventionExecutor: one strategy, once, on one session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.attempt import Attempt, Done
from debbie_otel.intervention.channel import Channel
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.intervention.settings import InterventionConfig
from debbie_otel.intervention.strategies.prompting import inject_prompt
from debbie_otel.intervention.strategies.resetting import reset_state
from debbie_otel.intervention.strategies.restarting import restart_session
from debbie_otel.session import events as ev
from debbie_otel.session.connection import Connection
from debbie_otel.session.model import Call
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

CustomStrategy = Callable[[Attempt], Awaitable[Done | bool | None]]
"""A strategy of the user's: returns what it did; True or None: it acted, False: it failed."""

Advisor = Callable[[AnomalyAlert, Session | None], Awaitable[Done]]
"""Something that can be done without touching the session: a script, a call for help."""

_CLIENT = MessageDirection.CLIENT_TO_SERVER


class Reach(msgspec.Struct, frozen=True):
    """A live session and the way there."""

    session: Session
    connection: Connection
    channel: Channel


Reaching = Callable[[str], Reach | None]
Subscribe = Callable[..., Callable[[], None]]


def is_asked_in(call: Call, session: Session) -> bool:
    """Tell whether a request is the client's own, in this session."""
    return call.session is session.info and call.direction is _CLIENT and not call.injected


class InterventionExecutor:
    """Carries strategies out.

    Args:
        config: Texts and times.
        reach: Finds a live session and the way there.
        subscribe: `monitor.subscribe`.
        advisors: python_script and escalate.
        strategies: Of the user's, by name; `register` adds to them.

    """

    def __init__(
        self,
        config: InterventionConfig,
        reach: Reaching,
        subscribe: Subscribe,
        advisors: Mapping[str, Advisor] | None = None,
        strategies: dict[str, CustomStrategy] | None = None,
    ) -> None:
        self._config = config
        self._reach = reach
        self._subscribe = subscribe
        self._advisors = dict(advisors or {})
        self._custom = {} if strategies is None else strategies
        self._acting: dict[str, CustomStrategy] = {
            "prompt_injection": inject_prompt,
            "session_restart": restart_session,
            "state_reset": reset_state,
            "tool_retry": lambda attempt: inject_prompt(attempt, "tool_retry"),
        }

    def register(self, name: str, strategy: CustomStrategy) -> None:
        """Make a callable known as the strategy `custom:NAME`."""
        self._custom[name] = strategy

    def reach(self, session_id: str) -> Reach | None:
        """Return a live session and the way there."""
        return self._reach(session_id)

    def is_cut_off(self, session_id: str) -> bool:
        """Tell whether nothing can reach a session any more."""
        reach = self._reach(session_id)
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
        reach = self._reach(alert.session_id)
        advisor = self._advisors.get(strategy)
        if advisor is not None:
            return await advisor(alert, None if reach is None else reach.session)
        act = self._acting.get(strategy) or self._custom.get(strategy.removeprefix("custom:"))
        if act is None:
            return Done(
                kind="impossible", reason="unknown", detail=f"nothing is known as {strategy}"
            )
        if reach is None:
            detail = "the session is on no connection that can be acted on"
            return Done(kind="impossible", reason="no_channel", detail=detail)
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

        unsubscribe = self._subscribe(look, ev.TurnEnded)
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
        return Done(kind="failed", reason="custom", detail=f"{strategy} says that it failed")
    return Done(kind="acted", detail=f"{strategy} has run")
