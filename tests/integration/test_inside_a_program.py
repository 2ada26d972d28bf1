"""Detection and intervention inside a program, without a proxy: the demo's mishaps, played directly.

The program is the demo's client. It knows nothing of Debbie, who lives in a thread of her own.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation

from debbie_otel import DebbieInstrumentor
from debbie_otel.config import Config
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.scenes import MISHAPS, Mishap, play
from debbie_otel.demo.show import demo_config
from debbie_otel.intervention.records import InterventionResult
from tests.telemetry.test_borrowed import Program
from tests.transports.pairs import eventually

SPEED = 30.0
LIMIT = 20.0
_STALL, _, _ERRORS, _ = MISHAPS  # the other two need a restart, which only the proxy can do


def config(tmp_path: Path, url: str) -> Config:
    made = demo_config(Config(), url, SPEED)
    proxy = msgspec.structs.replace(made.proxy, upstream=None)
    telemetry = msgspec.structs.replace(made.telemetry, data_dir=tmp_path)
    return msgspec.structs.replace(made, proxy=proxy, telemetry=telemetry)


@pytest.mark.parametrize("mishap", [_STALL, _ERRORS], ids=["stall", "errors"])
async def test_a_mishap_is_noticed_and_healed(mishap: Mishap, tmp_path: Path) -> None:
    program = Program()
    instrumentor = DebbieInstrumentor()
    async with asyncio.timeout(LIMIT), contextlib.AsyncExitStack() as stack:
        with suppress_instrumentation():  # the agent is no part of the program
            scripted = ScriptedAgent(mishap.turns, one_script=True, speed=SPEED)
            agent = await stack.enter_async_context(scripted)
        instrumentor.instrument(
            tracer_provider=program.tracers,
            meter_provider=program.meters,
            config=config(tmp_path, agent.url),
        )
        try:
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
    names = [span.name for span in program.exporter.get_finished_spans()]
    assert any(name.startswith("debbie.alert") for name in names)
    assert any(name.startswith("debbie.intervention") for name in names)
