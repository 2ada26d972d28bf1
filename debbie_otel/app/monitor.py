"""DebbieMonitor: the live connections and sessions, and who wants to hear of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any, get_args

from debbie_otel.app.callbacks import Handler, MonitoringEvent, register
from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.loops import LoopFinding
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.intervention.events import InterventionEvent
from debbie_otel.session.connection import Connection
from debbie_otel.session.directory import Limits, Sessions
from debbie_otel.session.events import Event
from debbie_otel.session.session import Session
from debbie_otel.telemetry.instruments import OpenCalls

Subscriber = Callable[[Event], None]
_MAX_WAITING = 1000
_NO_RECORDERS: Mapping[type, Callable[[Any], None]] = {}
AlertSubscriber = Callable[[Transition], None]
InterventionSubscriber = Callable[[InterventionEvent], None]


class DebbieMonitor:
    """Knows what is alive, and passes events on.

    Args:
        limits: Bounds on sessions and calls.
        guard: What happens when a subscriber fails.

    Attributes:
        sessions: The named sessions, shared by all connections.
        loop: On which Debbie runs; None while she does not.

    """

    def __init__(self, limits: Limits | None = None, guard: FailOpen | None = None) -> None:
        self.sessions = Sessions(limits)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._guard = guard or FailOpen()
        self._connections: dict[str, Connection] = {}
        # Tuples, so that one who comes or goes while an event is told disturbs nobody.
        self._subscribers: dict[type[Event], tuple[Subscriber, ...]] = {}
        self._alert_subscribers: list[AlertSubscriber] = []
        self._intervention_subscribers: list[InterventionSubscriber] = []
        self._warning_subscribers: list[Callable[[LoopFinding], None]] = []

    # -- what is alive -----------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        """The open connections; a copy, safe on other threads."""
        return list(self._connections.values())

    def live_sessions(self) -> list[Session]:
        """Return every session that has started and not ended."""
        found = {id(s): s for c in self.connections for s in c.sessions if s.live}
        return list(found.values())

    def open_calls(self, dialect: str, now_ns: int) -> OpenCalls:
        """Count the unanswered calls of a dialect; safe on other threads."""
        open_calls = [c.open_calls() for c in self.connections if c.dialect.name == dialect]
        oldest = min((sent for _, sent in open_calls if sent is not None), default=now_ns)
        return OpenCalls(sum(count for count, _ in open_calls), (now_ns - oldest) / 1e9)

    def opened(self, connection: Connection) -> None:
        """Take note of a connection."""
        self._connections[connection.key] = connection

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.pop(connection.key, None)

    # -- who listens -------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber, *kinds: type[Event]) -> Callable[[], None]:
        """Have `subscriber` called with events, on the thread of the wire.

        Args:
            subscriber: Must not block.
            kinds: Events that it wants; all of them where none is named.

        Returns:
            What ends the subscription.

        """
        wanted = kinds or get_args(Event)
        for kind in wanted:
            self._subscribers[kind] = (*self._subscribers.get(kind, ()), subscriber)

        def unsubscribe() -> None:
            for kind in wanted:
                left = list(self._subscribers[kind])
                left.remove(subscriber)
                self._subscribers[kind] = tuple(left)

        return unsubscribe

    def subscribe_handlers(
        self, handlers: Mapping[type[Event], Callable[[Any], None]]
    ) -> Callable[[], None]:
        """Have each event told to the handler of its kind; as `subscribe` otherwise."""
        ends = [self.subscribe(handler, kind) for kind, handler in handlers.items()]

        def unsubscribe() -> None:
            for end in ends:
                end()

        return unsubscribe

    def subscribe_to_alerts(self, subscriber: AlertSubscriber) -> Callable[[], None]:
        """Have `subscriber` called when an alert fires or is resolved; returns what ends it."""
        self._alert_subscribers.append(subscriber)
        return lambda: self._alert_subscribers.remove(subscriber)

    async def alerts(self) -> AsyncIterator[Transition]:
        """Yield alerts as they fire and are resolved, as long as it is iterated."""
        queue: asyncio.Queue[Transition] = asyncio.Queue(_MAX_WAITING)
        loop = asyncio.get_running_loop()

        def put(transition: Transition) -> None:
            if queue.full():
                queue.get_nowait()  # whoever does not keep up misses the oldest
            queue.put_nowait(transition)

        # A queue belongs to its loop, and inside a program alerts may come on another thread.
        unsubscribe = self.subscribe_to_alerts(lambda seen: call_on(loop, partial(put, seen)))
        try:
            while True:
                yield await queue.get()
        finally:
            unsubscribe()

    def register_handler(self, event: MonitoringEvent, handler: Handler) -> Callable[[], None]:
        """Have `handler` called with a dictionary for each event of a kind; see `handlers`."""
        return register(self, event, handler, self._guard, lambda: self.loop)

    def subscribe_to_warnings(self, subscriber: Callable[[LoopFinding], None]) -> None:
        """Have `subscriber` called when a loop of the soft tier begins."""
        self._warning_subscribers.append(subscriber)

    def publish_warning(self, _: Event, finding: LoopFinding) -> None:
        """Pass a warning on: something repeats, not yet often enough for an alert."""
        for subscriber in self._warning_subscribers:
            with self._guard("a warning subscriber"):
                subscriber(finding)

    def publish_alert(self, transition: Transition) -> None:
        """Pass an alert on to all who subscribed to them."""
        for subscriber in list(self._alert_subscribers):
            with self._guard("an alert subscriber"):
                subscriber(transition)

    def subscribe_to_interventions(self, subscriber: InterventionSubscriber) -> Callable[[], None]:
        """Have `subscriber` called for each step of an intervention; returns what ends it."""
        self._intervention_subscribers.append(subscriber)
        return lambda: self._intervention_subscribers.remove(subscriber)

    def publish_intervention(self, event: InterventionEvent) -> None:
        """Pass a step of an intervention on to all who subscribed to them."""
        for subscriber in list(self._intervention_subscribers):
            with self._guard("an intervention subscriber"):
                subscriber(event)

    def session(self, session_id: str) -> Session | None:
        """Return a session that is seen on an open connection."""
        found = self.sessions.get(session_id)
        if found is not None:
            return found
        matching = (s for c in self.connections for s in c.sessions if s.info.id == session_id)
        return next(matching, None)

    def publish(
        self,
        events: Iterable[Event],
        recorders: Mapping[type, Callable[[Any], None]] = _NO_RECORDERS,
    ) -> None:
        """Pass events on.

        Args:
            events: In their order.
            recorders: What takes an event, by its type, before the subscribers do.

        """
        recorder_of, subscribers_of = recorders.get, self._subscribers.get
        for event in events:
            kind = type(event)
            record = recorder_of(kind)
            if record is not None:
                try:
                    record(event)
                except Exception as error:  # noqa: BLE001 - one event must not cost the next
                    self._guard.failed("the recording of a span", error)
            for subscriber in subscribers_of(kind, ()):
                try:
                    subscriber(event)
                except Exception as error:  # noqa: BLE001 - a subscriber must not cost a message
                    self._guard.failed("an event subscriber", error)
