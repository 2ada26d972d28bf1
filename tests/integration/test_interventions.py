"""Interventions on a live wire: a real agent server, the proxy as it is configured, a real client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from debbie_otel.cli.demo import demo_config
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.scenes import MISHAPS, Mishap, play
from debbie_otel.intervention.records import InterventionRecord
from tests.integration.proxied import config, proxied
from tests.integration.received import Spans

SPEED = 40.0
STALL, LOOP, ERRORS, STUCK = MISHAPS


async def heal(mishap: Mishap, data_dir: Path, **interventions: Any) -> list[InterventionRecord]:
    """Play a scene through a proxy; return what was done, the oldest first."""
    async with ScriptedAgent(mishap.turns, one_script=True, speed=SPEED) as agent:
        base = config(agent.url, data_dir, detection={"enabled": True})
        settings = demo_config(base, agent.url, SPEED)
        policy = msgspec.structs.replace(settings.interventions, **interventions)
        settings = msgspec.structs.replace(settings, interventions=policy)
        async with proxied(settings) as it:
            words = await play(mishap, it.url())
        assert words == mishap.turns[-1].text
        assert it.debbie.interventions is not None
        return list(reversed(it.debbie.interventions.history.recent()))


def told(records: list[InterventionRecord]) -> list[str]:
    return [f"{r.alert_type}: {r.strategy} {r.result}" for r in records]


async def test_a_stalled_turn_is_prompted_and_goes_on(tmp_path: Path) -> None:
    assert told(await heal(STALL, tmp_path)) == ["session_stall: prompt_injection success"]


async def test_a_loop_is_ended_and_its_client_gets_an_answer(tmp_path: Path) -> None:
    assert told(await heal(LOOP, tmp_path)) == ["tool_loop: state_reset success"]


async def test_after_errors_the_agent_is_asked_to_try_again(tmp_path: Path) -> None:
    assert told(await heal(ERRORS, tmp_path)) == ["high_error_rate: tool_retry success"]


async def test_a_session_that_hears_nothing_is_restarted(tmp_path: Path) -> None:
    records = await heal(STUCK, tmp_path)
    assert told(records) == [
        "session_stall: prompt_injection failure",
        "session_stall: session_restart success",
    ]
    assert records[0].reason == "no_recovery"


async def test_the_turn_in_the_trace_tells_it(tmp_path: Path) -> None:
    await heal(STALL, tmp_path)
    names = {span.name for span in Spans.of_file(tmp_path / "traces.jsonl").all}
    assert {
        "debbie.alert session_stall",
        "debbie.intervention prompt_injection",
        "debbie.recovery",
    } <= names


@pytest.mark.parametrize("off", [{"auto_continue": False}, {"dry_run": True}])
async def test_who_may_not_act_sends_nothing(tmp_path: Path, off: dict[str, bool]) -> None:
    """The agent is prompted by nobody, so its client gives up."""
    mishap = Mishap(STALL.title, STALL.turns, _does_not_wait)
    records = await heal(mishap, tmp_path, **off)
    assert told(records) == ["session_stall: prompt_injection skipped"]
    assert records[0].detail == "would have tried prompt_injection, then session_restart"


async def _does_not_wait(client: Any, session: str) -> str:
    await client.call("sendUserMessage", sessionId=session, message="go")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):  # a stall takes 0.75 s, and a look 0.125 s
            await client.wait_for("ChannelMessageNotification")
    return STALL.turns[-1].text
