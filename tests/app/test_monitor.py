"""DebbieMonitor: what is alive, and who is told."""

from __future__ import annotations

import asyncio
import threading

from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.detection.alerts import Transition
from debbie_otel.errors import FailOpen
from debbie_otel.session import events as ev
from tests.app.transitions import transition
from tests.play import Play
from tests.session.openings import ACP_START


def strict() -> DebbieMonitor:
    return DebbieMonitor(guard=FailOpen(strict=True))


def talk() -> list[ev.Event]:
    stage = Play("acp")
    stage.play(ACP_START)
    stage.close()
    return stage.events


# -- subscriptions --------------------------------------------------------------------------------


def test_without_kinds_it_hears_everything() -> None:
    monitor, events = strict(), talk()
    heard: list[ev.Event] = []
    monitor.subscribe(heard.append)
    monitor.events.publish_all(events)
    assert heard == events


# -- alerts ---------------------------------------------------------------------------------------


def test_alerts_are_told_until_the_end() -> None:
    monitor = strict()
    heard: list[Transition] = []
    end = monitor.subscribe_to_alerts(heard.append)
    told = transition()
    monitor.events.publish(told)
    end()
    monitor.events.publish(transition())
    assert heard == [told]


async def test_alerts_can_be_iterated() -> None:
    monitor = strict()
    alerts = monitor.alerts()
    waiting = asyncio.ensure_future(anext(alerts))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)  # the iterator subscribes when it is first asked
    fired, resolved = transition(), transition(event="resolved")
    monitor.events.publish(fired)
    monitor.events.publish(resolved)
    async with asyncio.timeout(5):
        assert await waiting is fired
        assert await anext(alerts) is resolved
    await alerts.aclose()  # type: ignore[attr-defined]
    assert not monitor.events.has_subscribers(Transition)


async def test_alerts_of_another_thread_wake_who_waits_for_them() -> None:
    monitor = strict()
    alerts = monitor.alerts()
    waiting = asyncio.ensure_future(anext(alerts))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)
    fired = transition()
    timer = threading.Timer(0.05, monitor.events.publish, [fired])
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
        monitor.events.publish(one)
    async with asyncio.timeout(5):
        received = [await waiting] + [await anext(alerts) for _ in range(999)]
    assert received == told[500:]
    await alerts.aclose()  # type: ignore[attr-defined]


# -- what is alive --------------------------------------------------------------------------------


def test_live_sessions() -> None:
    monitor, stage = strict(), Play("acp")
    stage.sessions = monitor.sessions
    stage.play(ACP_START)
    connection = stage.connection
    monitor.live.add(connection)
    assert monitor.connections == [connection]
    (session,) = [s for s in monitor.live_sessions() if s.info.id == "s1"]
    assert monitor.session("s1") is session
    assert monitor.session("s9") is None
    stage.close()
    assert monitor.live_sessions() == []
    monitor.live.remove(connection)
    assert monitor.session("s1") is None
