"""DebbieMonitor: the live connections and sessions, and who wants to hear of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

from debbie_otel.core.connection import Connection
from debbie_otel.core.directory import Limits, Sessions
from debbie_otel.core.events import Event
from debbie_otel.core.session import Session
from debbie_otel.failopen import FailOpen
from debbie_otel.telemetry.instruments import OpenCalls

Subscriber = Callable[[Event], None]


class DebbieMonitor:
    """Knows what is alive, and passes events on.

    Args:
        limits: Bounds on sessions and calls.
        guard: What happens when a subscriber fails.

    Attributes:
        sessions: The named sessions, shared by all connections.

    """

    def __init__(self, limits: Limits | None = None, guard: FailOpen | None = None) -> None:
        self.sessions = Sessions(limits)
        self._guard = guard or FailOpen()
        self._connections: dict[str, Connection] = {}
        self._subscribers: dict[type[Event], list[Subscriber]] = {}

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
        lists = [self._subscribers.setdefault(kind, []) for kind in kinds or get_args(Event)]
        for subscribers in lists:
            subscribers.append(subscriber)

        def unsubscribe() -> None:
            for subscribers in lists:
                subscribers.remove(subscriber)

        return unsubscribe

    def publish(self, events: Iterable[Event]) -> None:
        """Pass events on to all subscribers."""
        if not self._subscribers:
            return
        for event in events:
            for subscriber in self._subscribers.get(type(event), ()):
                try:
                    subscriber(event)
                except Exception as error:  # noqa: BLE001 - a subscriber must not cost a message
                    self._guard.failed("an event subscriber", error)
