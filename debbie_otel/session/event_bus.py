"""EventBus: the one way to hear of what happens.

Events are told apart by their class: those of sessions (`session.events`), and what other parts
make of them: alerts that fire or are resolved (`detection.alerts.Transition`), loops that are not
yet alerts (`detection.loops.LoopFinding`), steps of interventions
(`intervention.steps.InterventionEvent`). Telemetry, the detector, interventions, the console,
reports and the callbacks of programs all subscribe here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, TypeVar

from debbie_otel.errors import FailOpen

EventT = TypeVar("EventT")
Subscriber = Callable[[EventT], None]
"""Takes an event, on the thread on which it is published, and must not block."""

Handlers = Mapping[type[Any], Callable[[Any], None]]
"""A subscriber for each class of events."""

Unsubscribe = Callable[[], None]
"""Ends a subscription; nothing where it has ended already."""

SUBSCRIBER = "an event subscriber"

_Subscription = tuple[Handlers, str]


class _Routes(dict[type, tuple[Callable[[Any], None], ...]]):
    """What hears of a class of events, found when the first of them is published.

    There is no lock. Whoever subscribes changes the subscriptions first and then has new routes
    used, so that a route that was made meanwhile without the newcomer is in a dictionary that
    nothing uses any more.
    """

    def __init__(self, subscriptions: dict[int, _Subscription]) -> None:
        super().__init__()
        self._subscriptions = subscriptions

    def __missing__(self, kind: type) -> tuple[Callable[[Any], None], ...]:
        found = (handlers.get(kind) for handlers, _ in list(self._subscriptions.values()))
        route = self[kind] = tuple(handler for handler in found if handler is not None)
        return route


class EventBus:
    """Tells subscribers of events, in the order of their subscriptions.

    A subscriber that fails costs neither the others nor whoever published. Subscriptions may begin
    and end on any thread, also while an event is told.

    Args:
        guard: What happens when a subscriber fails.
        onward: A bus that is told of every event after this bus's own subscribers: the one for all
            connections, where this bus is for one of them.

    """

    def __init__(self, guard: FailOpen | None = None, onward: EventBus | None = None) -> None:
        self._guard = guard or FailOpen()
        self._onward = onward
        self._numbers = count()
        self._subscriptions: dict[int, _Subscription] = {}
        self._routes = _Routes(self._subscriptions)

    def subscribe(
        self, subscriber: Subscriber[EventT], *kinds: type[EventT], place: str = SUBSCRIBER
    ) -> Unsubscribe:
        """Have a function called with each event of some classes.

        Args:
            subscriber: The function.
            kinds: The classes.
            place: What it is called in the log and in the counter of failures.

        """
        return self.subscribe_handlers(dict.fromkeys(kinds, subscriber), place=place)

    def subscribe_handlers(self, handlers: Handlers, *, place: str = SUBSCRIBER) -> Unsubscribe:
        """Have each event passed to the handler of its class; as `subscribe` otherwise."""
        number = next(self._numbers)
        self._subscriptions[number] = handlers, place
        self._routes = _Routes(self._subscriptions)

        def unsubscribe() -> None:
            self._subscriptions.pop(number, None)
            self._routes = _Routes(self._subscriptions)

        return unsubscribe

    def has_subscribers(self, kind: type) -> bool:
        """Tell whether anything hears of a class of events."""
        onward = self._onward
        return bool(self._routes[kind]) or (onward is not None and onward.has_subscribers(kind))

    def publish(self, event: object) -> None:
        """Tell of one event."""
        self.publish_all((event,))

    def publish_all(self, events: Iterable[object]) -> None:
        """Tell of events in their order: each to all subscribers before the next."""
        onward = self._onward
        for event in events:
            kind = type(event)
            for handler in self._routes[kind]:
                try:
                    handler(event)
                except Exception as error:  # noqa: BLE001 - must not cost the others, or a message
                    self._failed(kind, handler, error)
            if onward is None:
                continue
            for handler in onward._routes[kind]:  # noqa: SLF001 - no call: this is the hot path
                try:
                    handler(event)
                except Exception as error:  # noqa: BLE001 - likewise
                    onward._failed(kind, handler, error)  # noqa: SLF001

    def _failed(self, kind: type, handler: Callable[[Any], None], error: Exception) -> None:
        subscriptions = list(self._subscriptions.values())
        places = (place for handlers, place in subscriptions if handlers.get(kind) == handler)
        self._guard.failed(next(places, SUBSCRIBER), error)
