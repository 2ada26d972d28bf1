"""A DebbieDebugger as a program has her: started and stopped, asked, several at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.asyncio.client import ClientConnection, connect

from debbie_otel import DebbieDebugger, InterceptingWebSocket
from debbie_otel.app.config import config_of
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import AgentClient
from debbie_otel.demo.script import Fault, ScriptedTurn, ToolCall
from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.attempt import Attempt
from debbie_otel.session import events as ev
from debbie_otel.telemetry.export import destination
from debbie_otel.telemetry.export.destination import Destination
from tests.integration.received import Spans
from tests.telemetry.collector import HttpCollector, http_collector
from tests.transports.pairs import eventually

ECHO = '{"jsonrpc":"2.0","id":%d,"method":"echo","params":{"message":"hi"}}'


@pytest.fixture
def collector() -> Iterator[HttpCollector]:
    with http_collector() as started:
        yield started


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent(speed=20) as started:
        yield started


def debbie_for(folder: Path, collector: HttpCollector | None = None, **sections: Any) -> Any:
    telemetry: dict[str, Any] = {"data_dir": folder}
    if collector is not None:
        telemetry["otlp"] = f"http://127.0.0.1:{collector.port}"
    return DebbieDebugger(config_of({"telemetry": telemetry, **sections}), environ={})


async def echo(connection: ClientConnection | InterceptingWebSocket, number: int = 1) -> None:
    await connection.send(ECHO % number)
    assert '"hi"' in await connection.recv()


@contextlib.asynccontextmanager
async def observed(debbie: DebbieDebugger, url: str) -> AsyncIterator[InterceptingWebSocket]:
    async with connect(url, proxy=None) as connection:
        yield debbie.intercept_websocket(connection)


@contextlib.asynccontextmanager
async def conversation(debbie: DebbieDebugger, url: str, *messages: str) -> AsyncIterator[str]:
    """Have a conversation that she sees; yield the session's id."""
    async with AgentClient(url) as client:
        debbie.intercept_websocket(client._connection)
        session_id: str = (await client.call("startSession", userId="u"))["sessionId"]
        for message in messages:
            await client.call("sendUserMessage", sessionId=session_id, message=message)
        yield session_id


# -- life ------------------------------------------------------------------------------------


async def test_she_can_be_started_and_stopped_any_number_of_times(
    tmp_path: Path, collector: HttpCollector, agent: ScriptedAgent
) -> None:
    debbie = debbie_for(tmp_path, collector)
    calls: list[str] = []
    debbie.monitor.subscribe(lambda event: calls.append(event.call.method), ev.CallEnded)
    for number in range(1, 4):
        await debbie.start()
        await debbie.start()  # once is enough
        assert debbie.is_running
        async with observed(debbie, agent.url) as connection:
            await echo(connection)
        report = await debbie.stop()
        assert await debbie.stop() is report
        assert not debbie.is_running
        assert report.delivered == len(Spans(collector.received.traces).all) - (number - 1) * 3
        assert len(calls) == number
    spans = Spans(collector.received.traces)
    assert len(spans.named("echo")) == 3
    assert len({span.attributes["debbie.connection.id"] for span in spans.named("echo")}) == 3


async def test_a_context_that_is_entered_twice(tmp_path: Path, agent: ScriptedAgent) -> None:
    debbie = debbie_for(tmp_path)
    for _ in range(2):
        async with debbie as entered:
            assert entered is debbie
            async with observed(debbie, agent.url) as connection:
                await echo(connection)
    assert debbie.get_statistics()["calls"] == 2


def test_one_event_loop_after_the_other(tmp_path: Path) -> None:
    debbie = debbie_for(tmp_path)

    async def live() -> None:
        async with (
            ScriptedAgent(speed=20) as agent,
            debbie,
            observed(debbie, agent.url) as connection,
        ):
            await echo(connection)

    asyncio.run(live())
    asyncio.run(live())
    assert debbie.get_statistics()["calls"] == 2


async def test_stopped_before_she_was_started(tmp_path: Path, agent: ScriptedAgent) -> None:
    debbie = debbie_for(tmp_path)
    assert debbie.pipeline is not None
    assert debbie.detector is not None
    assert debbie.interventions is not None
    await debbie.stop()
    async with debbie, observed(debbie, agent.url) as connection:
        await echo(connection)
    assert debbie.get_statistics()["calls"] == 1


async def test_starts_and_stops_that_come_together(tmp_path: Path) -> None:
    debbie = debbie_for(tmp_path)
    await asyncio.gather(debbie.start(), debbie.start(), debbie.stop(), debbie.start())
    assert debbie.is_running
    await asyncio.gather(debbie.stop(), debbie.stop())
    assert not debbie.is_running


async def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    debbie = debbie_for(tmp_path, proxy={"record": tmp_path / "missing" / "seen.jsonl"})
    tasks = asyncio.all_tasks()
    with pytest.raises(ConfigurationError, match="missing"):
        await debbie.start()
    assert not debbie.is_running
    assert asyncio.all_tasks() == tasks
    (tmp_path / "missing").mkdir()
    async with debbie:
        assert debbie.is_running
    assert (tmp_path / "missing" / "seen.jsonl").exists()


def test_what_is_wrong_is_said_by_the_constructor(tmp_path: Path) -> None:
    for sections in (
        {"proxy": {"dialect": "klingon"}},
        {"dialects": {"paths": [tmp_path / "none.toml"]}},
        {"interventions": {"escalation": {"alertmanager": ["ftp://nowhere"]}}},
        {"telemetry": {"otlp": "not a url"}},
    ):
        threads = threading.enumerate()
        with pytest.raises(ConfigurationError):
            DebbieDebugger(config_of(sections), environ={})
        assert set(threading.enumerate()) <= set(threads)


async def test_a_connection_that_outlasts_a_stop(tmp_path: Path, agent: ScriptedAgent) -> None:
    """It goes on, unseen; wrapped again after the next start it is seen again."""
    debbie = debbie_for(tmp_path)
    async with connect(agent.url, proxy=None) as connection:
        async with debbie:
            wrapped = debbie.intercept_websocket(connection)
            await echo(wrapped, 1)
        await echo(wrapped, 2)
        assert debbie.get_statistics()["calls"] == 1
        async with debbie:
            wrapped = debbie.intercept_websocket(wrapped)
            await echo(wrapped, 3)
    assert debbie.get_statistics()["calls"] == 2


async def test_several_in_one_process(tmp_path: Path, agent: ScriptedAgent) -> None:
    first, second = debbie_for(tmp_path / "a"), debbie_for(tmp_path / "b")
    async with first, second:
        async with observed(first, agent.url) as one, observed(second, agent.url) as other:
            await echo(one, 1)
            await echo(one, 2)
            await echo(other, 1)
        await second.stop()
        async with observed(first, agent.url) as one:
            await echo(one, 1)
    assert first.get_statistics()["calls"] == 3
    assert second.get_statistics()["calls"] == 1


# -- what persists ---------------------------------------------------------------------------


async def test_strategies_outlast_a_stop(tmp_path: Path) -> None:
    acted: list[str] = []
    stall = ScriptedTurn(tools=(ToolCall("read_rfc"),), fault=Fault.STALL)
    debbie = debbie_for(
        tmp_path,
        detection={"check_interval": 0.05, "stall_threshold": 0.1},
        interventions={"alert_strategy_map": {"session_stall": ["custom:mine"]}},
    )

    async def mine(attempt: Attempt) -> bool:
        acted.append(attempt.alert.alert_type)
        return False

    debbie.register_strategy("mine", mine)
    async with ScriptedAgent((stall,), speed=40) as agent:
        for number in (1, 2):
            async with debbie, conversation(debbie, agent.url, "Read it.") as session_id:
                await eventually(lambda: len(acted) == number)  # noqa: B023
                (record,) = debbie.interventions.history.session(session_id)
                assert (record.strategy, record.result) == ("custom:mine", "failure")


async def test_readers_outlast_a_stop(tmp_path: Path) -> None:
    rule = {"name": "busy", "metric": "shop.queue", "above": 5.0}
    debbie = debbie_for(tmp_path, detection={"check_interval": 0.05}, rules=[rule])
    provider = MeterProvider([debbie.detector.metric_reader()], shutdown_on_exit=False)
    queue = provider.get_meter("shop").create_gauge("shop.queue")
    alerts: list[str] = []
    debbie.monitor.subscribe_to_alerts(lambda transition: alerts.append(transition.event))
    for number in (1, 2):
        async with debbie:
            queue.set(7.0)
            await eventually(lambda: alerts.count("alert") == number)  # noqa: B023
    assert alerts.count("alert") == 2
    provider.shutdown()


async def test_providers_of_the_program_outlast_her(tmp_path: Path, agent: ScriptedAgent) -> None:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider(shutdown_on_exit=False)
    debbie = DebbieDebugger(
        config_of({"telemetry": {"data_dir": tmp_path}}),
        tracer_provider=tracers,
        meter_provider=meters,
    )
    for number in (1, 2):
        async with debbie, observed(debbie, agent.url) as connection:
            assert debbie.pipeline is None
            await echo(connection)
        names = [span.name for span in exporter.get_finished_spans()]
        assert names.count("echo") == number
    tracers.shutdown()
    meters.shutdown()


# -- what she is asked -----------------------------------------------------------------------


async def test_reports_live_and_afterwards(tmp_path: Path) -> None:
    looks = (ToolCall("read_rfc", {"rfc_id": "7"}, 0.01),) * 4
    script = (
        ScriptedTurn(tools=looks, text="It is about caching."),
        ScriptedTurn(fault=Fault.ERROR),
    )
    debbie = debbie_for(tmp_path)
    async with (
        ScriptedAgent(script, speed=40) as agent,
        debbie,
        conversation(debbie, agent.url, "What is it about?", "Sure?") as session_id,
    ):
        live = await debbie.analyze_session(session_id)
        assert live is not None
        assert live.live
        assert live.metrics.turns == 2
        assert await debbie.analyze_session("nobody") is None
    analysis = await debbie.analyze_session(session_id)
    assert analysis is not None
    assert not analysis.live
    metrics = analysis.metrics
    assert (metrics.turns, metrics.tools, metrics.errors) == (2, 4, 1)
    assert "sendUserMessage" in [message.method for message in analysis.recent_messages]
    (repeated,) = (r for r in analysis.recommendations if r.topic == "tool_loop")
    assert repeated.evidence["tool"] == "read_rfc"
    assert repeated.evidence["count"] == 4
    text = debbie.get_debugging_report()
    assert text.startswith("# ")
    assert session_id in text
    statistics = debbie.get_statistics()
    assert (statistics["sessions"], statistics["live_sessions"]) == (1, 0)
    assert statistics["tools"] == 4


@pytest.mark.parametrize("acting", [True, False])
async def test_who_keeps_no_reports_begins_with_the_first_question(
    tmp_path: Path, agent: ScriptedAgent, acting: bool
) -> None:
    config = config_of({"telemetry": {"data_dir": tmp_path}, "detection": {"enabled": acting}})
    debbie = DebbieDebugger(config, environ={}, reports=False)
    async with debbie, observed(debbie, agent.url) as connection:
        await echo(connection, 1)
        # What interventions keep, a report has as well.
        assert debbie.get_statistics()["sessions"] == int(acting)
        await echo(connection, 2)
        assert debbie.get_statistics()["sessions"] == 1


async def test_no_connection_of_websockets(tmp_path: Path) -> None:
    debbie = debbie_for(tmp_path)
    with pytest.raises(TypeError, match="no connection of websockets: object"):
        debbie.intercept_websocket(object())
    await debbie.stop()


async def test_the_process_to_watch(tmp_path: Path) -> None:
    debbie = debbie_for(tmp_path, detection={"check_interval": 0.05})
    debbie.watch_process(os.getpid)
    async with debbie:
        await eventually(lambda: debbie.memory.current > 2**20)


def connected() -> set[object]:
    """The connected sockets of this process, by what every version of psutil has."""
    found = psutil.net_connections()
    return {(c.fd, c.laddr, c.raddr) for c in found if c.raddr and c.pid == os.getpid()}


def test_one_that_is_never_started_leaves_nothing_behind(tmp_path: Path) -> None:
    process = psutil.Process()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        threads, files = set(threading.enumerate()), process.open_files()
        sockets = connected()
        debbie = DebbieDebugger(
            config_of(
                {
                    "proxy": {"record": tmp_path / "recording.jsonl", "watch_pid": os.getpid()},
                    "telemetry": {
                        "otlp": f"http://127.0.0.1:{server.getsockname()[1]}",
                        "data_dir": tmp_path / "data",
                    },
                }
            ),
            environ={},
        )
        gone = weakref.ref(debbie)
        del debbie
        gc.collect()
        assert gone() is None
        assert set(threading.enumerate()) == threads
        assert connected() <= sockets
        assert process.open_files() == files
        with pytest.raises(BlockingIOError):
            server.accept()
    assert list(tmp_path.iterdir()) == []


async def test_looking_for_a_collector_does_not_hold_up_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def find(*_: object) -> Destination:
        asked.set()
        assert went_on.wait(5)
        return Destination("files", str(tmp_path), "a test", "")

    went_on = threading.Event()
    monkeypatch.setattr(destination, "find", find)
    debbie = debbie_for(tmp_path)
    starting = asyncio.get_running_loop().create_task(debbie.start())
    assert await asyncio.to_thread(asked.wait, 5)
    went_on.set()  # this loop is free to say so
    await starting
    await debbie.stop()


def test_starts_at_once_in_one_event_loop_after_the_other(tmp_path: Path) -> None:
    """A lock that was waited for belongs to the loop of that time."""
    config = config_of({"telemetry": {"data_dir": str(tmp_path)}})
    debbie = DebbieDebugger(config, environ={}, telemetry=False)

    async def live() -> None:
        await asyncio.gather(*(debbie.start() for _ in range(3)))
        assert debbie.is_running
        await asyncio.gather(*(debbie.stop() for _ in range(3)))
        assert not debbie.is_running

    for _ in range(2):
        asyncio.run(live())
