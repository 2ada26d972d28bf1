"""EventBus: who hears of what, in which order, and what a failure costs."""

from __future__ import annotations

import threading

import pytest

from debbie_otel.errors import FailOpen
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from tests.play import Play
from tests.session.openings import ACP_START


def strict(onward: EventBus | None = None) -> EventBus:
    return EventBus(FailOpen(strict=True), onward)


def talk() -> list[ev.Event]:
    stage = Play("acp")
    stage.play(ACP_START)
    stage.close()
    return stage.events


def test_a_subscriber_hears_the_kinds_that_it_named_in_order() -> None:
    bus, events = strict(), talk()
    heard: list[ev.Event] = []
    kinds: tuple[type[ev.Event], ...] = (ev.TurnStarted, ev.SessionEnded)
    bus.subscribe(heard.append, *kinds)
    bus.publish_all(events)
    assert heard == [e for e in events if isinstance(e, ev.TurnStarted | ev.SessionEnded)]
    assert {type(event) for event in heard} == {ev.TurnStarted, ev.SessionEnded}


def test_a_bus_tells_its_own_subscribers_of_an_event_before_the_bus_after_it() -> None:
    """As the recorder of a connection hears each event before those who listen to all of them."""
    everywhere, events = strict(), talk()
    bus = strict(everywhere)
    heard: list[tuple[str, ev.Event]] = []
    kinds: list[type[ev.Event]] = [ev.TurnStarted, ev.TurnEnded]
    everywhere.subscribe(lambda event: heard.append(("told", event)), *kinds)
    bus.subscribe(lambda event: heard.append(("recorded", event)), ev.TurnEnded)
    bus.publish_all(events)
    (started,) = [event for event in events if isinstance(event, ev.TurnStarted)]
    (ended,) = [event for event in events if isinstance(event, ev.TurnEnded)]
    assert heard == [("told", started), ("recorded", ended), ("told", ended)]
    everywhere.publish_all(events)
    assert len(heard) == 5  # what is published on the other is not told here


def test_a_handler_for_each_kind_until_they_are_ended_together() -> None:
    bus, events = strict(), talk()
    started: list[ev.Event] = []
    ended: list[ev.Event] = []
    end = bus.subscribe_handlers({ev.TurnStarted: started.append, ev.TurnEnded: ended.append})
    bus.publish_all(events)
    end()
    bus.publish_all(events)
    assert [type(event) for event in (*started, *ended)] == [ev.TurnStarted, ev.TurnEnded]


def test_an_ended_subscription_ends_alone() -> None:
    bus, events = strict(), talk()
    first: list[ev.Event] = []
    second: list[ev.Event] = []
    end = bus.subscribe(first.append, ev.MessageSeen)
    bus.subscribe(second.append, ev.MessageSeen)
    end()
    end()
    bus.publish_all(events)
    assert (first, second) == ([], [e for e in events if isinstance(e, ev.MessageSeen)])


def test_a_subscriber_may_leave_while_it_is_told() -> None:
    """Those after it are told all the same."""
    bus, events = strict(), talk()
    heard: list[ev.Event] = []

    def once(_: ev.Event) -> None:
        end()

    end = bus.subscribe(once, ev.TurnStarted)
    bus.subscribe(heard.append, ev.TurnStarted)
    bus.publish_all(events)
    assert [type(event) for event in heard] == [ev.TurnStarted]


def test_a_failing_subscriber_is_counted_and_the_next_is_told() -> None:
    failures: list[str] = []
    bus, events = EventBus(FailOpen(failures.append, strict=False)), talk()
    heard: list[ev.Event] = []

    def fail(_: ev.Event) -> None:
        raise ValueError("a subscriber's bug")

    bus.subscribe(fail, ev.TurnStarted)
    bus.subscribe(heard.append, ev.TurnStarted)
    bus.publish_all(events)
    assert failures == ["an event subscriber"]
    assert len(heard) == 1
    raising = strict()
    raising.subscribe(fail, ev.TurnStarted)
    with pytest.raises(ValueError, match="a subscriber's bug"):
        raising.publish_all(events)


def test_a_failure_is_told_by_the_place_of_its_subscription() -> None:
    failures: list[str] = []
    everywhere = EventBus(FailOpen(failures.append, strict=False))
    bus = EventBus(FailOpen(failures.append, strict=False), everywhere)

    def fail(_: object) -> None:
        raise ValueError("a subscriber's bug")

    everywhere.subscribe(fail, str, place="there")
    bus.subscribe(fail, str, int, place="here")
    bus.publish("an event may be anything that has a class")
    bus.publish(1)
    assert failures == ["here", "there", "here"]


def test_whether_anything_hears() -> None:
    everywhere = strict()
    bus = strict(everywhere)
    end = everywhere.subscribe(lambda _: None, ev.TurnEnded)
    assert bus.has_subscribers(ev.TurnEnded)
    assert not bus.has_subscribers(ev.TurnStarted)
    end()
    assert not bus.has_subscribers(ev.TurnEnded)


def test_a_subscriber_that_comes_while_events_are_told_on_another_thread_misses_none() -> None:
    bus = strict()
    heard = [0] * 200
    over = threading.Event()

    def publish() -> None:
        while not over.is_set():
            bus.publish("event")

    def subscriber(number: int) -> None:
        def hear(_: str) -> None:
            heard[number] += 1

        bus.subscribe(hear, str)

    publishing = [threading.Thread(target=publish) for _ in range(2)]

    def subscribe(first: int) -> None:
        for number in range(first, 200, 4):
            subscriber(number)

    subscribing = [threading.Thread(target=subscribe, args=(first,)) for first in range(4)]
    for thread in (*publishing, *subscribing):
        thread.start()
    for thread in subscribing:
        thread.join(30)
    over.set()
    for thread in publishing:
        thread.join(30)
    before = heard.copy()
    bus.publish("event")
    assert [now - then for now, then in zip(heard, before, strict=True)] == [1] * 200
