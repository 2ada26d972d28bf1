"""DebbieMonitor: the live connections and sessions, and their events, for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import get_args

from debbie_otel.app.callbacks import Handler, MonitoringEvent, register
from debbie_otel.detection.alerts import Transition
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.session.connection import Connection
from debbie_otel.session.directory import Limits, Sessions
from debbie_otel.session.event_bus import EventBus, Subscriber, Unsubscribe
from debbie_otel.session.events import Event
from debbie_otel.session.live_connections import LiveConnections
from debbie_otel.session.session import Session

_MAX_WAITING = 1000


class DebbieMonitor:
    """Knows what is alive, and tells of events.

    Args:
        limits: Bounds on sessions and calls.
        guard: What happens when a subscriber fails.

    Attributes:
        events: Tells of everything that happens; the methods here subscribe to it.
        live: The open connections and their sessions.
        loop: On which Debbie runs; None while it does not.

    """

    def __init__(self, limits: Limits | None = None, guard: FailOpen | None = None) -> None:
        self._guard = guard or FailOpen()
        self.events = EventBus(self._guard)
        self.live = LiveConnections(limits)
        self.loop: asyncio.AbstractEventLoop | None = None

    # -- what is alive -----------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        """The open connections; a copy, safe on other threads."""
        return self.live.all()

    def live_sessions(self) -> list[Session]:
        """Return every session that has started and not ended."""
        return self.live.live_sessions()

    @property
    def sessions(self) -> Sessions:
        """The named sessions that are alive."""
        return self.live.sessions

    def session(self, session_id: str) -> Session | None:
        """Return a session that is seen on an open connection."""
        return self.live.session(session_id)

    # -- what happens --------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber[Event], *kinds: type[Event]) -> Unsubscribe:
        """Have `subscriber` called with events of sessions, on the thread of the wire.

        Args:
            subscriber: Must not block.
            kinds: Events that it wants; all of `session.events` where none is named.

        Returns:
            What ends the subscription.

        """
        return self.events.subscribe(subscriber, *(kinds or get_args(Event)))

    def subscribe_to_alerts(self, subscriber: Subscriber[Transition]) -> Unsubscribe:
        """Have `subscriber` called when an alert fires or is resolved; returns what ends it."""
        return self.events.subscribe(subscriber, Transition, place="an alert subscriber")

    def subscribe_to_interventions(self, subscriber: Subscriber[InterventionEvent]) -> Unsubscribe:
        """Have `subscriber` called for each step of an intervention; returns what ends it."""
        place = "an intervention subscriber"
        return self.events.subscribe(subscriber, InterventionEvent, place=place)

    def register_handler(self, event: MonitoringEvent, handler: Handler) -> Unsubscribe:
        """Have `handler` called with a dictionary for each event of a kind; see `callbacks`."""
        return register(self.events, event, handler, self._guard, lambda: self.loop)

    async def alerts(self) -> AsyncIterator[Transition]:
        """Yield alerts as they fire and are resolved, as long as it is iterated."""
        queue: asyncio.Queue[Transition] = asyncio.Queue(_MAX_WAITING)
        loop = asyncio.get_running_loop()

        def put(transition: Transition) -> None:
            if queue.full():
                queue.get_nowait()  # a reader that does not keep up misses the oldest
            queue.put_nowait(transition)

        # A queue belongs to its loop, and inside a program alerts may come on another thread.
        unsubscribe = self.subscribe_to_alerts(lambda seen: call_on(loop, partial(put, seen)))
        try:
            while True:
                yield await queue.get()
        finally:
            unsubscribe()
