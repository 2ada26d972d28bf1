"""LiveRunner: by wall time, before a real server, through the real proxy."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.asyncio.client import ClientConnection, connect

from debbie_otel.app.clock import wall_clock
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.live_detection import LiveRunner
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.script import Fault, ScriptedTurn, ToolCall
from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.control_metrics import Reading
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.errors import FailOpen
from debbie_otel.session.event_bus import EventBus
from tests.integration.proxied import Proxied, config, proxied
from tests.play import C2S, S2C, Play

SLACK = 1.0
"""Seconds that a busy machine may take on top; `benchmarks.detector` has the real figures."""
LOOP = ScriptedTurn(
    text="All six are read.", tools=(ToolCall("read_file", {"path": "a"}, 0.01),) * 6
)


class Heard:
    """Alerts, when they came, and on which thread."""

    def __init__(self, debbie: DebbieDebugger) -> None:
        self.transitions: list[tuple[Transition, float, int]] = []
        self._changed = asyncio.Event()
        debbie.monitor.subscribe_to_alerts(self._hear)

    def _hear(self, transition: Transition) -> None:
        self.transitions.append((transition, time.monotonic(), threading.get_ident()))
        self._changed.set()

    async def of(self, alert_type: str, event: str = "alert") -> tuple[Transition, float]:
        """Wait for an alert of a type; return it, and when it came."""
        async with asyncio.timeout(10):
            while True:
                for transition, when, thread in self.transitions:
                    if (transition.alert.alert_type, transition.event) == (alert_type, event):
                        assert thread == threading.get_ident()  # the event loop's
                        return transition, when
                self._changed.clear()
                await self._changed.wait()


class Client:
    """Talks to the agent through the proxy."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.session = ""

    async def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        await self._connection.send(json.dumps(request))
        async for text in self._connection:
            message = json.loads(text)
            if message.get("id") == self._number:
                return message.get("result")
        raise AssertionError("the connection has ended")

    async def start(self) -> Self:
        self.session = (await self.call("startSession", userId="u"))["sessionId"]
        return self

    async def say(self, text: str) -> float:
        """Have a turn; return when its last message came."""
        await self.call("sendUserMessage", sessionId=self.session, message=text)
        return time.monotonic()


@contextlib.asynccontextmanager
async def before(
    script: tuple[ScriptedTurn, ...], data_dir: Path, **detection: Any
) -> AsyncIterator[tuple[Proxied, Heard, Client]]:
    """Run an agent, Debbie before it, and a client with a session."""
    async with ScriptedAgent(script, speed=50) as agent:
        settings = config(agent.url, data_dir, detection={"enabled": True, **detection})
        async with proxied(settings) as it:
            heard = Heard(it.debbie)
            async with connect(it.url()) as connection:
                yield it, heard, await Client(connection).start()


async def test_a_tool_loop_is_alerted_at_once(tmp_path: Path) -> None:
    async with before((LOOP,), tmp_path, check_interval=60) as (_, heard, client):
        completed = await client.say("read them all")
        transition, when = await heard.of("tool_loop")
    assert transition.alert.session_id == client.session
    assert transition.alert.details["subject"] == "read_file"
    report("tool loop", when - completed)


async def test_an_error_burst_is_alerted_at_once(tmp_path: Path) -> None:
    script = (
        ScriptedTurn(text="a"),
        ScriptedTurn(text="b"),
        *(ScriptedTurn(fault=Fault.ERROR, think=0.02),) * 3,
    )
    async with before(script, tmp_path, check_interval=60) as (_, heard, client):
        for _ in script:
            completed = await client.say("go on")
        transition, when = await heard.of("high_error_rate")
    assert transition.alert.details["value"] == 0.5  # of six calls, with startSession
    report("error burst", when - completed)


async def test_a_stall_is_alerted_within_the_threshold_and_a_look_and_then_resolved(
    tmp_path: Path,
) -> None:
    script = (
        ScriptedTurn(tools=(ToolCall("read_file", {}, 0.01),), fault=Fault.STALL),
        ScriptedTurn(text="b"),
    )
    limits = {"stall_threshold": 0.4, "check_interval": 0.2}
    async with before(script, tmp_path, **limits) as (_, heard, client):
        ended = await client.say("go on")
        transition, when = await heard.of("session_stall")
        assert "ended mid-task" in transition.alert.message
        assert when - ended >= 0.35  # the message was seen a little before it came here
        report("stall, past the threshold", when - ended - 0.4, 0.2)
        await client.say("are you there?")
        resolved, _ = await heard.of("session_stall", "resolved")
    assert resolved.alert is transition.alert
    assert [t.event for t, _, _ in heard.transitions] == ["alert", "resolved"]


class Counting(AnomalyDetector):
    """Notes the times of its periodic looks."""

    def __init__(self, settings: DetectionSettings) -> None:
        super().__init__(settings)
        self.looks: list[int] = []

    def check(self, now_ns: int) -> list[Transition]:
        self.looks.append(now_ns)
        return super().check(now_ns)


async def test_looks_at_all_sessions_come_in_time_while_errors_pour_in() -> None:
    """Urgent looks, one after the other, must not keep the periodic one from its turn."""
    detector = Counting(DetectionSettings(check_interval=0.2))
    runner = LiveRunner(detector, wall_clock(), FailOpen(), EventBus())
    play = Play("generic")
    runner.start()
    async with asyncio.timeout(10):
        for number in itertools.count():
            play.send(C2S, b'{"id":1,"method":"m","params":%d}' % number)
            play.send(S2C, b'{"id":1,"error":{"code":-1,"message":"no"}}')
            for event in play.events:
                detector.observe(event)
            play.events.clear()
            if len(detector.looks) >= 3:
                break
            await asyncio.sleep(0.002)
    await runner.stop()
    detector.shutdown()
    spans = [(b - a) / 1e9 for a, b in itertools.pairwise(detector.looks)]
    assert max(spans) < 0.2 + SLACK


async def test_a_failure_under_a_strict_guard_is_raised_when_it_stops() -> None:
    def fail(_now_ns: int, _at_work: bool) -> Reading | None:
        raise ZeroDivisionError

    detector = AnomalyDetector(DetectionSettings(check_interval=0.01), memory=fail)
    guard = FailOpen(strict=True)
    runner = LiveRunner(detector, wall_clock(), guard, EventBus())
    runner.start()
    assert runner._task is not None
    await asyncio.wait({runner._task}, timeout=5)
    with pytest.raises(ZeroDivisionError):
        await runner.stop()
    detector.shutdown()


async def test_a_failure_in_use_is_counted_and_the_next_look_comes() -> None:
    twice = asyncio.Event()
    failures: list[str] = []

    def fail(_now_ns: int, _at_work: bool) -> Reading | None:
        raise ZeroDivisionError

    def count(place: str) -> None:
        failures.append(place)
        if len(failures) == 2:
            twice.set()

    detector = AnomalyDetector(DetectionSettings(check_interval=0.01), memory=fail)
    guard = FailOpen(count, strict=False)
    runner = LiveRunner(detector, wall_clock(), guard, EventBus())
    runner.start()
    await asyncio.wait_for(twice.wait(), 5)
    await runner.stop()
    assert set(failures) == {"anomaly detection"}
    detector.shutdown()


async def test_it_ends_cleanly_and_looks_no_more(tmp_path: Path) -> None:
    async with before((LOOP,), tmp_path, check_interval=0.05) as (it, heard, client):
        await client.say("read them all")
        await heard.of("tool_loop")
    tasks = {task.get_name() for task in asyncio.all_tasks()}
    assert "detector" not in tasks
    assert it.debbie.detector is not None
    assert it.debbie.detector.reader.take(0) == []
    await it.debbie.stop()  # a second time does no harm


def report(what: str, seconds: float, allowed: float = 0.0) -> None:
    print(f"{what}: {seconds * 1e3:.0f} ms")
    assert seconds < allowed + SLACK
