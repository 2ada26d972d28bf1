"""MonitoringEvent and its handlers, fed by real events of the wire."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest
import trio

from debbie_otel.app.callbacks import MonitoringEvent
from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.steps import InterventionEvent
from tests.app.transitions import transition
from tests.intervention.attempts import attempt
from tests.play import SECOND, Play
from tests.session.openings import ACP_START, update

TALK = "\n".join(
    [
        ACP_START,
        update(sessionUpdate="tool_call", toolCallId="c", title="Read", kind="read"),
        "+2",
        update(sessionUpdate="tool_call_update", toolCallId="c", status="completed"),
        '>> {"jsonrpc":"2.0","id":7,"method":"session/set_mode","params":{"sessionId":"s1"}}',
        '<< {"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no such mode"}}',
    ]
)


def step(phase: Any, **facts: Any) -> InterventionEvent:
    alert = transition().alert
    return InterventionEvent(phase, alert, "prompt_injection", 1, 40 * SECOND, **facts)


def publish_all(monitor: DebbieMonitor) -> None:
    """Play a talk, and alerts that fire and resolve."""
    stage = Play("acp")
    stage.play(TALK)
    stage.close()
    monitor.events.publish_all(stage.events)
    for alert_type in ("session_stall", "slow_response", "tool_loop"):
        monitor.events.publish(transition(alert_type))
    monitor.events.publish(transition(event="resolved"))
    monitor.events.publish(step("triggered"))
    monitor.events.publish(step("ended", record=attempt(detail="it streams")))


def heard(event: MonitoringEvent) -> list[dict[str, Any]]:
    """Return what a handler of an event is told."""
    monitor = DebbieMonitor(guard=FailOpen(strict=True))
    told: list[dict[str, Any]] = []
    end = monitor.register_handler(event, told.append)
    publish_all(monitor)
    count = len(told)
    end()
    publish_all(monitor)
    assert len(told) == count, "it goes on after its end"
    return told


@pytest.mark.parametrize("event", list(MonitoringEvent))
def test_each_event_is_told_with_its_name_session_and_time(event: MonitoringEvent) -> None:
    told = heard(event)
    assert told
    for data in told:
        assert data["event"] == event.value
        assert data["session_id"] in ("s1", "conn-A")
        assert isinstance(data["time_ns"], int)


def test_sessions() -> None:
    starts, ends = heard(MonitoringEvent.SESSION_START), heard(MonitoringEvent.SESSION_END)
    assert "s1" in {data["session_id"] for data in starts}
    assert {data["reason"] for data in ends} == {"disconnected"}


def test_messages_are_told_by_direction() -> None:
    sent = [data["method"] for data in heard(MonitoringEvent.MESSAGE_SENT)]
    received = [data["method"] for data in heard(MonitoringEvent.MESSAGE_RECEIVED)]
    assert sent[-1] == "session/set_mode"
    assert "session/update" in received
    assert "session/update" not in sent
    assert all(data["size"] > 0 for data in heard(MonitoringEvent.MESSAGE_RECEIVED))


def test_tools() -> None:
    (start,) = heard(MonitoringEvent.TOOL_EXECUTION_START)
    (end,) = heard(MonitoringEvent.TOOL_EXECUTION_END)
    assert start["tool_name"] == end["tool_name"]
    assert (end["outcome"], end["duration_ms"]) == ("completed", 2000.0)


def test_only_calls_that_fail_are_errors() -> None:
    (error,) = heard(MonitoringEvent.ERROR_DETECTED)
    assert (error["method"], error["message"]) == ("session/set_mode", "no such mode")
    assert error["error_type"] == "-32602"


def test_interventions() -> None:
    (triggered,) = heard(MonitoringEvent.INTERVENTION_TRIGGERED)
    (completed,) = heard(MonitoringEvent.INTERVENTION_COMPLETED)
    assert (triggered["strategy"], triggered["attempt"]) == ("prompt_injection", 1)
    assert triggered["alert_type"] == "session_stall"
    assert (completed["result"], completed["detail"]) == ("success", "it streams")


@pytest.mark.parametrize(
    ("event", "types"),
    [
        (MonitoringEvent.ANOMALY_DETECTED, ["session_stall", "slow_response", "tool_loop"]),
        (MonitoringEvent.ANOMALY_RESOLVED, ["session_stall"]),
        (MonitoringEvent.AGENT_STALL_DETECTED, ["session_stall"]),
        (MonitoringEvent.PERFORMANCE_DEGRADATION, ["slow_response"]),
    ],
)
def test_alerts_are_told_by_type(event: MonitoringEvent, types: list[str]) -> None:
    told = heard(event)
    assert [data["alert_type"] for data in told] == types
    assert (told[0]["severity"], told[0]["message"]) == ("high", "It hangs")
    assert told[0]["details"] == {"value": 31.0}
    assert told[0]["alert"].fired_ns == 30 * SECOND


# -- asynchronous handlers ------------------------------------------------------------------------


async def test_a_coroutine_runs_beside_the_wire() -> None:
    monitor, may_go = DebbieMonitor(guard=FailOpen(strict=True)), asyncio.Event()
    told: asyncio.Queue[str] = asyncio.Queue()

    async def handler(data: dict[str, Any]) -> None:
        await may_go.wait()
        told.put_nowait(data["alert_type"])

    monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, handler)
    for alert_type in ("session_stall", "tool_loop"):
        monitor.events.publish(transition(alert_type))
    assert told.empty()
    may_go.set()
    async with asyncio.timeout(5):
        assert {await told.get(), await told.get()} == {"session_stall", "tool_loop"}


# -- handlers that fail ---------------------------------------------------------------------------


def fail(_: dict[str, Any]) -> None:
    raise ValueError("a handler's bug")


def test_a_failing_handler_is_counted_and_the_others_are_told() -> None:
    failures: list[str] = []
    monitor = DebbieMonitor(guard=FailOpen(failures.append, strict=False))
    told: list[dict[str, Any]] = []
    for event in (MonitoringEvent.ANOMALY_DETECTED, MonitoringEvent.ERROR_DETECTED):
        monitor.register_handler(event, fail)
        monitor.register_handler(event, told.append)
    publish_all(monitor)
    assert failures == ["a monitoring handler"] * 4
    assert len(told) == 4


def test_a_failing_handler_is_heard_of_where_that_is_wanted() -> None:
    monitor = DebbieMonitor(guard=FailOpen(strict=True))
    monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, fail)
    with pytest.raises(ValueError, match="a handler's bug"):
        monitor.events.publish(transition())


async def failing_handler_in_a_task(guard: FailOpen) -> None:
    monitor, done = DebbieMonitor(guard=guard), asyncio.Event()

    async def handler(_: dict[str, Any]) -> None:
        done.set()
        raise ValueError("a handler's bug")

    monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, handler)
    monitor.events.publish(transition())
    async with asyncio.timeout(5):
        await done.wait()
    await asyncio.sleep(0)  # its done-callback runs in the next round of the loop


async def test_a_failing_coroutine_is_counted() -> None:
    failures: list[str] = []
    await failing_handler_in_a_task(FailOpen(failures.append, strict=False))
    assert failures == ["a monitoring handler"]


async def test_a_failing_coroutine_reaches_the_loop_where_that_is_wanted() -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(context.get("exception"))
    )
    await failing_handler_in_a_task(FailOpen(strict=True))
    assert [str(error) for error in reported] == ["a handler's bug"]


async def test_the_end_of_the_loop_is_no_failure() -> None:
    failures: list[str] = []
    monitor = DebbieMonitor(guard=FailOpen(failures.append, strict=False))
    tasks: list[asyncio.Task[Any] | None] = []
    started = asyncio.Event()

    async def handler(_: dict[str, Any]) -> None:
        tasks.append(asyncio.current_task())
        started.set()
        await asyncio.Event().wait()

    monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, handler)
    monitor.events.publish(transition())
    async with asyncio.timeout(5):
        await started.wait()
    task = tasks[0]
    assert task is not None
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert failures == []


# -- handlers and threads without an event loop ---------------------------------------------------


def publish_on_a_thread(monitor: DebbieMonitor) -> None:
    thread = threading.Thread(target=monitor.events.publish, args=(transition(),))
    thread.start()
    thread.join(5)


async def handled(monitor: DebbieMonitor) -> tuple[str, bool]:
    """Register a coroutine function, publish on a thread; return what it got, and whether here."""
    told: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    here = threading.get_ident()

    async def handler(data: dict[str, Any]) -> None:
        told.put_nowait((data["alert_type"], threading.get_ident() == here))

    monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, handler)
    await asyncio.to_thread(publish_on_a_thread, monitor)
    async with asyncio.timeout(5):
        return await told.get()


async def test_a_coroutine_runs_on_the_loop_on_which_it_was_registered() -> None:
    assert await handled(DebbieMonitor(guard=FailOpen(strict=True))) == ("session_stall", True)


async def test_a_coroutine_that_was_registered_without_a_loop_runs_on_debbies() -> None:
    monitor, told = DebbieMonitor(guard=FailOpen(strict=True)), asyncio.Event()

    async def handler(_: dict[str, Any]) -> None:
        told.set()

    register = partial(monitor.register_handler, MonitoringEvent.ANOMALY_DETECTED, handler)
    await asyncio.to_thread(register)
    monitor.loop = asyncio.get_running_loop()
    await asyncio.to_thread(publish_on_a_thread, monitor)
    async with asyncio.timeout(5):
        await told.wait()


def test_a_coroutine_without_any_loop_is_missed_once_and_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    monitor = DebbieMonitor(guard=FailOpen(strict=True))

    async def handler(_: dict[str, Any]) -> None:
        raise AssertionError

    monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, handler)
    publish_on_a_thread(monitor)
    publish_on_a_thread(monitor)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the asynchronous handler of anomaly_detected has no event loop to run on"
    ]


async def test_handlers_hear_of_what_happens_under_trio() -> None:
    """The thread of trio has a loop, but none of asyncio's."""
    monitor = DebbieMonitor(guard=FailOpen(strict=True))
    monitor.loop = asyncio.get_running_loop()
    told: asyncio.Queue[str] = asyncio.Queue()
    here = threading.get_ident()
    threads: list[int] = []

    def note(_: dict[str, Any]) -> None:
        threads.append(threading.get_ident())

    async def handler(data: dict[str, Any]) -> None:
        assert threading.get_ident() == here
        told.put_nowait(data["alert_type"])

    async def publish() -> None:
        monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, note)
        monitor.register_handler(MonitoringEvent.ANOMALY_DETECTED, handler)
        monitor.events.publish(transition())

    await asyncio.to_thread(trio.run, publish)
    async with asyncio.timeout(5):
        assert await told.get() == "session_stall"
    assert len(threads) == 1
    assert threads[0] != here  # a plain function is called where the event is
