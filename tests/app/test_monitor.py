"""DebbieMonitor: what is alive, and who is told."""

from __future__ import annotations

import asyncio
import threading

import pytest

from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.detection.alerts import Transition
from debbie_otel.errors import FailOpen
from debbie_otel.session import events as ev
from tests.app.test_callbacks import transition
from tests.play import SECOND, Play
from tests.session.test_connection import ACP_START


def strict() -> DebbieMonitor:
    return DebbieMonitor(guard=FailOpen(strict=True))


def talk() -> list[ev.Event]:
    stage = Play("acp")
    stage.play(ACP_START)
    stage.close()
    return stage.events


# -- subscriptions --------------------------------------------------------------------------------


def test_a_subscriber_hears_the_kinds_that_it_named_in_order() -> None:
    monitor, events = strict(), talk()
    heard: list[ev.Event] = []
    monitor.subscribe(heard.append, ev.TurnStarted, ev.SessionEnded)
    monitor.publish(events)
    assert heard == [e for e in events if isinstance(e, ev.TurnStarted | ev.SessionEnded)]
    assert {type(event) for event in heard} == {ev.TurnStarted, ev.SessionEnded}


def test_the_recorder_hears_an_event_before_any_subscriber() -> None:
    monitor, events = strict(), talk()
    heard: list[tuple[str, ev.Event]] = []
    monitor.subscribe(lambda event: heard.append(("told", event)), ev.TurnStarted, ev.TurnEnded)
    monitor.publish(events, {ev.TurnEnded: lambda event: heard.append(("recorded", event))})
    (started,) = [event for event in events if isinstance(event, ev.TurnStarted)]
    (ended,) = [event for event in events if isinstance(event, ev.TurnEnded)]
    assert heard == [("told", started), ("recorded", ended), ("told", ended)]


def test_a_handler_for_each_kind_until_they_are_ended_together() -> None:
    monitor, events = strict(), talk()
    started: list[ev.Event] = []
    ended: list[ev.Event] = []
    end = monitor.subscribe_handlers({ev.TurnStarted: started.append, ev.TurnEnded: ended.append})
    monitor.publish(events)
    end()
    monitor.publish(events)
    assert [type(event) for event in (*started, *ended)] == [ev.TurnStarted, ev.TurnEnded]


def test_without_kinds_it_hears_everything() -> None:
    monitor, events = strict(), talk()
    heard: list[ev.Event] = []
    monitor.subscribe(heard.append)
    monitor.publish(events)
    assert heard == events


def test_an_ended_subscription_ends_alone() -> None:
    monitor, events = strict(), talk()
    first: list[ev.Event] = []
    second: list[ev.Event] = []
    end = monitor.subscribe(first.append)
    monitor.subscribe(second.append)
    end()
    monitor.publish(events)
    assert (first, second) == ([], events)


def test_a_subscriber_may_leave_while_it_is_told() -> None:
    """Those after it are told all the same."""
    monitor, events = strict(), talk()
    heard: list[ev.Event] = []

    def once(_: ev.Event) -> None:
        end()

    end = monitor.subscribe(once, ev.TurnStarted)
    monitor.subscribe(heard.append, ev.TurnStarted)
    monitor.publish(events)
    assert [type(event) for event in heard] == [ev.TurnStarted]


def test_a_failing_subscriber_is_counted_and_the_next_is_told() -> None:
    failures: list[str] = []
    monitor, events = DebbieMonitor(guard=FailOpen(failures.append, strict=False)), talk()
    heard: list[ev.Event] = []

    def fail(_: ev.Event) -> None:
        raise ValueError("a subscriber's bug")

    monitor.subscribe(fail, ev.TurnStarted)
    monitor.subscribe(heard.append, ev.TurnStarted)
    monitor.publish(events)
    assert failures == ["an event subscriber"]
    assert len(heard) == 1
    raising = strict()
    raising.subscribe(fail)
    with pytest.raises(ValueError, match="a subscriber's bug"):
        raising.publish(events)


# -- alerts ---------------------------------------------------------------------------------------


def test_alerts_are_told_until_the_end() -> None:
    monitor = strict()
    heard: list[Transition] = []
    end = monitor.subscribe_to_alerts(heard.append)
    told = transition()
    monitor.publish_alert(told)
    end()
    monitor.publish_alert(transition())
    assert heard == [told]


async def test_alerts_can_be_iterated() -> None:
    monitor = strict()
    alerts = monitor.alerts()
    waiting = asyncio.ensure_future(anext(alerts))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)  # the iterator subscribes when it is first asked
    fired, resolved = transition(), transition(event="resolved")
    monitor.publish_alert(fired)
    monitor.publish_alert(resolved)
    async with asyncio.timeout(5):
        assert await waiting is fired
        assert await anext(alerts) is resolved
    await alerts.aclose()  # type: ignore[attr-defined]
    assert monitor._alert_subscribers == []


async def test_alerts_of_another_thread_wake_who_waits_for_them() -> None:
    monitor = strict()
    alerts = monitor.alerts()
    waiting = asyncio.ensure_future(anext(alerts))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)
    fired = transition()
    timer = threading.Timer(0.05, monitor.publish_alert, [fired])
    timer.start()
    async with asyncio.timeout(5):  # the only other thing that would wake the loop
        assert await waiting is fired
    timer.join()
    await alerts.aclose()  # type: ignore[attr-defined]


async def test_who_does_not_keep_up_misses_the_oldest() -> None:
    monitor = strict()
    alerts = monitor.alerts()
    waiting = asyncio.ensure_future(anext(alerts))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)
    told = [transition(str(number)) for number in range(1500)]
    for one in told:
        monitor.publish_alert(one)
    async with asyncio.timeout(5):
        received = [await waiting] + [await anext(alerts) for _ in range(999)]
    assert received == told[500:]
    await alerts.aclose()  # type: ignore[attr-defined]


# -- what is alive --------------------------------------------------------------------------------


def test_open_calls_are_counted_by_dialect_with_the_age_of_the_oldest() -> None:
    monitor, stage = strict(), Play("acp")
    stage.play(ACP_START)
    monitor.opened(stage.connection)
    before = monitor.open_calls("acp", stage.now)
    call = '>> {"jsonrpc":"2.0","id":%d,"method":"session/set_mode","params":{"sessionId":"s1"}}'
    stage.play(f"+10\n{call % 70}\n+5\n{call % 71}")
    after = monitor.open_calls("acp", stage.now + 2 * SECOND)
    assert after.count == before.count + 2
    assert after.oldest_age == (17.0 if before.count else 7.0)
    assert monitor.open_calls("mcp", stage.now).count == 0
    assert monitor.open_calls("mcp", stage.now).oldest_age == 0.0
    monitor.closed(stage.connection)
    assert monitor.open_calls("acp", stage.now).count == 0


def test_live_sessions() -> None:
    monitor, stage = strict(), Play("acp")
    stage.play(ACP_START)
    connection = stage.connection
    monitor.opened(connection)
    assert monitor.connections == [connection]
    (session,) = [s for s in monitor.live_sessions() if s.info.id == "s1"]
    assert monitor.session("s1") is session
    assert monitor.session("s9") is None
    stage.close()
    assert monitor.live_sessions() == []
    monitor.closed(connection)
    assert monitor.session("s1") is None
