"""Detection and intervention inside a program, without a proxy: the demo's mishaps, played directly.

The program is the demo's client, or its server. It knows nothing of Debbie, who lives in a thread
of her own.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from debbie_otel import DebbieInstrumentor
from debbie_otel.app.config import Config
from debbie_otel.cli.demo import demo_config
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.scenes import MISHAPS, Mishap, play
from debbie_otel.intervention.intervention_config import ToolRetrySettings
from debbie_otel.intervention.records import InterventionResult
from tests.integration.flaky import Client, Flaky
from tests.telemetry.program import Program
from tests.transports.pairs import eventually

SPEED = 30.0
LIMIT = 20.0
_STALL, _, _ERRORS, _ = MISHAPS  # the other two need a restart, which only the proxy can do


def config(tmp_path: Path) -> Config:
    made = demo_config(Config(), "ws://127.0.0.1:1/", SPEED)
    proxy = msgspec.structs.replace(made.proxy, upstream=None)
    telemetry = msgspec.structs.replace(made.telemetry, data_dir=tmp_path)
    return msgspec.structs.replace(made, proxy=proxy, telemetry=telemetry)


@pytest.mark.parametrize("mishap", [_STALL, _ERRORS], ids=["stall", "errors"])
@pytest.mark.parametrize("end", ["client", "server"])
async def test_a_mishap_is_noticed_and_healed(end: str, mishap: Mishap, tmp_path: Path) -> None:
    program = Program()
    instrumentor = DebbieInstrumentor()
    instrumentor.instrument(
        tracer_provider=program.tracers, meter_provider=program.meters, config=config(tmp_path)
    )
    try:
        async with asyncio.timeout(LIMIT), contextlib.AsyncExitStack() as stack:
            with part_of_program(end == "server"):
                scripted = ScriptedAgent(mishap.turns, one_script=True, speed=SPEED)
                agent = await stack.enter_async_context(scripted)
            with part_of_program(end == "client"):
                assert await play(mishap, agent.url)
            debbie = instrumentor.debbie
            assert debbie is not None
            assert debbie.interventions is not None
            history = debbie.interventions.history
            await eventually(
                lambda: any(r.result is InterventionResult.SUCCESS for r in history.recent(20))
            )
    finally:
        await asyncio.to_thread(instrumentor.uninstrument)
    spans = program.exporter.get_finished_spans()
    names = [span.name for span in spans]
    assert any(name.startswith("debbie.alert") for name in names)
    assert any(name.startswith("debbie.intervention") for name in names)
    kinds = {span.kind for span in spans if span.name.startswith("invoke_agent")}
    assert kinds == {SpanKind.SERVER if end == "server" else SpanKind.CLIENT}


@pytest.mark.parametrize("tools", [[], ["look"]], ids=["as the server says", "as we say"])
@pytest.mark.parametrize("end", ["client", "server"])
async def test_a_failed_tool_is_called_again(end: str, tools: list[str], tmp_path: Path) -> None:
    """Its failure is seen by no client, however fast it comes."""
    instrumentor = DebbieInstrumentor()
    retry = ToolRetrySettings(delay=0.01, idempotent=not tools, tools=tuple(tools))
    made = config(tmp_path)
    made = msgspec.structs.replace(
        made,
        proxy=msgspec.structs.replace(made.proxy, dialect="mcp"),
        interventions=msgspec.structs.replace(made.interventions, tool_retry=retry),
    )
    instrumentor.instrument(config=made)
    flaky = Flaky(look=2)
    try:
        async with asyncio.timeout(LIMIT), contextlib.AsyncExitStack() as stack:
            with part_of_program(end == "server"):
                server = await stack.enter_async_context(serve(flaky, "127.0.0.1", 0))
            port = next(iter(server.sockets)).getsockname()[1]
            with part_of_program(end == "client"):
                opening = connect(f"ws://127.0.0.1:{port}", proxy=None)
                client = Client(await stack.enter_async_context(opening))
            await client.request("tools/list")
            answer = await client.use("look", at="this")
    finally:
        await asyncio.to_thread(instrumentor.uninstrument)
    assert answer["result"] == {"content": [], "isError": False, "call": 3}
    assert flaky.calls == [("look", {"at": "this"})] * 3


def part_of_program(it_is: bool) -> contextlib.AbstractContextManager[None]:
    """Return a context: connections that are made in it are the program's, or not."""
    return contextlib.nullcontext() if it_is else suppress_instrumentation()
