"""DebbieInstrumentor: the connections of a program that knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from websockets.asyncio.client import connect
from websockets.asyncio.connection import broadcast
from websockets.asyncio.router import route
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import Protocol
from websockets.sync import client as sync_client
from werkzeug.routing import Map, Rule

from debbie_otel import DebbieInstrumentor
from debbie_otel.app.config import Config, load_config
from debbie_otel.errors import ConfigurationError
from tests.telemetry.program import Program
from tests.transports.pairs import (
    TIMEOUT,
    asyncio_ends,
    eventually,
    legacy_ends,
    sync_ends,
    trio_ends,
)

ORIGINAL = vars(Protocol)["__init__"]


def config(tmp_path: Path) -> Config:
    flags = {"telemetry": {"data_dir": str(tmp_path)}, "proxy": {"dialect": "generic"}}
    return load_config(flags=flags)


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def debbie(program: Program, tmp_path: Path) -> Iterator[DebbieInstrumentor]:
    instrumentor = DebbieInstrumentor()
    instrumentor.instrument(
        tracer_provider=program.tracers, meter_provider=program.meters, config=config(tmp_path)
    )
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def request(call_id: int, method: str = "work") -> str:
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method})


def answer(message: str | bytes) -> str:
    asked = json.loads(message)
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}})


async def answering(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(answer(message))


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    async with serve(answering, "127.0.0.1", 0) as running:
        yield f"ws://127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}/"


def calls(program: Program) -> list[ReadableSpan]:
    return [s for s in program.exporter.get_finished_spans() if not s.name.startswith("debbie.")]


def kinds(program: Program) -> list[str]:
    return sorted(f"{span.name} {span.kind.name}" for span in calls(program))


# -- what is observed ------------------------------------------------------------------------


async def test_both_ends_of_a_call_are_observed(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    async with server() as url, connect(url, proxy=None) as connection:
        await connection.send(request(1))
        await connection.recv()
    debbie.uninstrument()
    assert kinds(program) == ["work CLIENT", "work SERVER"]
    port = int(url.rsplit(":", 1)[1].strip("/"))
    for span in calls(program):
        attributes = dict(span.attributes or {})
        assert attributes["server.address"] == "127.0.0.1"
        assert attributes["server.port"] == port
        assert attributes["network.protocol.name"] == "websocket"
        assert span.resource.attributes["service.name"] == "the-program"
    assert len({(span.attributes or {})["debbie.connection.id"] for span in calls(program)}) == 2


def messages(program: Program) -> int:
    return sum(int(point.value) for point in program.metrics().get("debbie.messages", ()))


async def test_metrics_of_both_ends(debbie: DebbieInstrumentor, program: Program) -> None:
    async with server() as url, connect(url, proxy=None) as connection:
        await connection.send(request(1))
        await connection.recv()
        await eventually(lambda: messages(program) == 4)
        found = program.metrics()
    assert [point.count for point in found["rpc.client.call.duration"]] == [1]
    assert [point.count for point in found["rpc.server.call.duration"]] == [1]
    debbie.uninstrument()
    assert "debbie.messages" not in program.metrics()


async def test_names_that_were_imported_before(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    """Of `websockets` itself, of its modules, and routers that bring their own `serve`."""
    urls = Map([Rule("/talk", endpoint=answering)])
    async with route(urls, "127.0.0.1", 0) as routed:
        port = next(iter(routed.sockets)).getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}/talk", proxy=None) as connection:
            await connection.send(request(1, "routed"))
            await connection.recv()
    async with websockets.serve(answering, "127.0.0.1", 0) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as connection:
            await connection.send(request(1, "served"))
            await connection.recv()
    debbie.uninstrument()
    assert kinds(program) == ["routed CLIENT", "routed SERVER", "served CLIENT", "served SERVER"]


async def test_broadcasts_by_every_name(debbie: DebbieInstrumentor, program: Program) -> None:
    from websockets.asyncio import server as server_module

    async with asyncio_ends() as (client, served):
        for send in (broadcast, server_module.broadcast, websockets.broadcast):
            send([served], '{"jsonrpc": "2.0", "method": "news"}')
            await client.recv()
    debbie.uninstrument()
    assert kinds(program) == 3 * ["news CLIENT"] + 3 * ["news SERVER"]


async def test_reconnecting(debbie: DebbieInstrumentor, program: Program) -> None:
    done = 0
    async with asyncio.timeout(TIMEOUT), server() as url:
        async for connection in connect(url, proxy=None):
            with contextlib.suppress(ConnectionClosed):
                await connection.send(request(1))
                await connection.recv()
                await connection.close()
                done += 1
                if done == 3:
                    break
                await connection.recv()
    debbie.uninstrument()
    clients = [span for span in calls(program) if span.kind.name == "CLIENT"]
    assert len({(span.attributes or {})["debbie.connection.id"] for span in clients}) == 3


def test_connections_of_threads(debbie: DebbieInstrumentor, program: Program) -> None:
    with sync_ends() as (client, served):
        client.send(request(1))
        served.send(answer(served.recv(TIMEOUT)))
        client.recv(TIMEOUT)
    debbie.uninstrument()
    assert kinds(program) == ["work CLIENT", "work SERVER"]


def test_connections_of_trio(debbie: DebbieInstrumentor, program: Program) -> None:
    trio = pytest.importorskip("trio")
    pytest.importorskip("websockets.trio", reason="websockets before 17 has no trio")

    async def talk() -> None:
        async with trio_ends() as (client, served):
            await client.send(request(1))
            await served.send(answer(await served.recv()))
            await client.recv()

    trio.run(talk)
    debbie.uninstrument()
    assert kinds(program) == ["work CLIENT", "work SERVER"]


async def test_connections_of_the_legacy_package(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    async with legacy_ends() as (client, served):
        await client.send(request(1))
        await served.send(answer(await served.recv()))
        await client.recv()
    debbie.uninstrument()
    assert kinds(program) == ["work CLIENT", "work SERVER"]


async def test_what_is_sent_within_a_span_is_its_child(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    tracer = program.tracers.get_tracer("the program's")
    async with server() as url, connect(url, proxy=None) as connection:
        with tracer.start_as_current_span("order") as span:
            await connection.send(request(1, "inside"))
        await connection.recv()
        await connection.send(request(2, "outside"))
        await connection.recv()
    debbie.uninstrument()
    parents = {
        s.name: None if s.parent is None else s.parent.span_id
        for s in calls(program)
        if s.kind.name == "CLIENT"
    }
    assert parents == {"inside": span.get_span_context().span_id, "outside": None}


# -- what is not -----------------------------------------------------------------------------


async def test_nothing_is_observed_where_that_is_suppressed(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    async with server() as url:
        with suppress_instrumentation():
            connection = await connect(url, proxy=None)
        await connection.send(request(1))
        await connection.recv()
        await connection.close()
    debbie.uninstrument()
    assert kinds(program) == ["work SERVER"]


async def test_nothing_is_started_before_the_first_message(debbie: DebbieInstrumentor) -> None:
    before = set(threading.enumerate())
    async with server() as url, connect(url, proxy=None) as connection:
        assert debbie.debbie is None
        assert set(threading.enumerate()) == before
        await connection.send("not even JSON")
        assert debbie.debbie is not None


async def test_no_spans_of_a_program_without_connections(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    debbie.uninstrument()
    assert program.exporter.get_finished_spans() == ()


# -- life ------------------------------------------------------------------------------------


async def test_nothing_is_left_behind(debbie: DebbieInstrumentor, program: Program) -> None:
    before = {thread.name for thread in threading.enumerate()}
    assert vars(Protocol)["__init__"] is not ORIGINAL
    async with server() as url, connect(url, proxy=None) as connection:
        await connection.send(request(1))
        await connection.recv()
        assert "send_text" in vars(connection.protocol)
        debbie.uninstrument()
        assert vars(Protocol)["__init__"] is ORIGINAL
        assert not {"send_text", "events_received", "receive_eof"} & set(vars(connection.protocol))
        spans = len(program.exporter.get_finished_spans())
        await connection.send(request(2))
        await connection.recv()
        assert len(program.exporter.get_finished_spans()) == spans
    assert {t.name for t in threading.enumerate() if "debbie" in t.name} - before == set()
    assert debbie.debbie is None


async def test_never_twice(debbie: DebbieInstrumentor, program: Program) -> None:
    assert DebbieInstrumentor() is debbie
    debbie.instrument()
    async with server() as url, connect(url, proxy=None) as connection:
        await connection.send(request(1))
        await connection.recv()
    debbie.uninstrument()
    assert kinds(program) == ["work CLIENT", "work SERVER"]
    debbie.uninstrument()
    assert vars(Protocol)["__init__"] is ORIGINAL


async def test_again_after_an_end(
    debbie: DebbieInstrumentor, program: Program, tmp_path: Path
) -> None:
    async with server() as url:
        for round_ in range(3):
            async with connect(url, proxy=None) as connection:
                await connection.send(request(1, f"round-{round_}"))
                await connection.recv()
            debbie.uninstrument()
            debbie.instrument(
                tracer_provider=program.tracers,
                meter_provider=program.meters,
                config=config(tmp_path),
            )
    assert {span.name for span in calls(program)} == {"round-0", "round-1", "round-2"}


async def test_open_calls_end_with_the_instrumentation(
    debbie: DebbieInstrumentor, program: Program
) -> None:
    async with asyncio_ends() as (client, served):
        await client.send(request(1))
        await served.recv()
        debbie.uninstrument()
    assert [span.status.is_ok for span in calls(program)] == [False, False]


def test_somebody_else_before_the_same_method() -> None:
    """What another library has put before ours stays, and ours is silent in it."""
    instrumentor = DebbieInstrumentor()
    instrumentor.instrument()
    ours = vars(Protocol)["__init__"]

    def theirs(*arguments: Any, **named: Any) -> None:
        ours(*arguments, **named)

    Protocol.__init__ = theirs  # type: ignore[method-assign]
    try:
        instrumentor.uninstrument()
        assert vars(Protocol)["__init__"] is theirs
        with sync_ends() as (client, served):
            client.send("text")
            assert served.recv(TIMEOUT) == "text"
            assert "send_text" not in vars(client.protocol)
    finally:
        Protocol.__init__ = ORIGINAL  # type: ignore[method-assign]


@pytest.mark.parametrize("options", [{"dialect": "klingon"}, {"profile": "reckless"}])
def test_a_wrong_value_is_told_at_once(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options.values()))):
        DebbieInstrumentor().instrument(**options)
    assert vars(Protocol)["__init__"] is ORIGINAL
    assert not DebbieInstrumentor().is_instrumented_by_opentelemetry


async def test_dialect_and_profile(program: Program, tmp_path: Path) -> None:
    instrumentor = DebbieInstrumentor()
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("DEBBIE_DATA_DIR", str(tmp_path))
        instrumentor.instrument(
            dialect="mcp",
            profile="passive",
            tracer_provider=program.tracers,
            meter_provider=program.meters,
        )
        try:
            async with server() as url, connect(url, proxy=None) as connection:
                await connection.send(request(1, "ping"))
                await connection.recv()
            assert instrumentor.debbie is not None
            assert instrumentor.debbie.config.detection.check_interval == 10.0
        finally:
            instrumentor.uninstrument()
    assert {(span.attributes or {})["debbie.dialect"] for span in calls(program)} == {"mcp"}


def test_the_programs_errors_stay_its_own(debbie: DebbieInstrumentor) -> None:
    with pytest.raises(OSError, match="refused"):
        sync_client.connect("ws://127.0.0.1:1/", proxy=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(websockets.InvalidURI):
            sync_client.connect("no-url", proxy=None)
