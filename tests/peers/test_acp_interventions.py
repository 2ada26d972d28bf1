"""A live ACP agent that gets stuck, a live client, and Debbie between them, who helps."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("acp.ws.client", reason="needs a live ACP agent: make peers")
pytest.importorskip("uvicorn", reason="needs a server for the ACP agent: make peers")

from acp.ws.client import MemoryAcpCookieStore

from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import InterventionEvent
from tests.faults.faults import HANG, HUNG_TOOL, IDENTICAL_LOOP, IGNORES_ALL, IGNORES_PROMPTS, Fault
from tests.faults.mind import AFTERWARDS, DONE, GREETING, TASK, Mind
from tests.peers.acp_client import Visit, visiting
from tests.peers.acp_steps import stuck_agent
from tests.peers.between import Watched, watched
from tests.transports.raw import until

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("bare_environment")]

SECONDS = 25.0
DETECTION = {"enabled": True, "check_interval": 0.1, "stall_threshold": 1.0}
INTERVENTIONS = {"recovery_timeout": 1.5, "request_timeout": 1.5, "retry_delay": 0.1}


@dataclass
class Meeting:
    """A user, an agent that is stuck, and what Debbie does about it."""

    user: Visit
    session: str
    mind: Mind
    watch: Watched
    records: list[InterventionRecord] = field(default_factory=list)

    def see(self, event: InterventionEvent) -> None:
        if event.record is not None:
            self.records.append(event.record)

    def tried(self) -> list[tuple[str, InterventionResult]]:
        return [(record.strategy, record.result) for record in self.records]

    async def say(self, text: str) -> tuple[Any, str]:
        """Send a prompt; return its answer, and what the agent said until then."""
        await self.user.prompt(self.session, text)
        answer, updates = self.user.said[text]
        assert {session for session, _ in updates} <= {self.session}
        words = (u["content"]["text"] for _, u in updates if "chunk" in u["sessionUpdate"])
        return answer, "".join(words)


@contextlib.asynccontextmanager
async def meeting(
    fault: Fault, data_dir: Path, strategies: dict[str, Any] | None = None
) -> AsyncIterator[Meeting]:
    mind = Mind(fault)
    acting = {"alert_strategy_map": strategies} if strategies else {}
    sections = {"detection": DETECTION, "interventions": INTERVENTIONS | acting}
    async with (
        asyncio.timeout(SECONDS),
        stuck_agent(mind) as port,
        watched(port, data_dir, **sections) as watch,
        visiting(watch.port, MemoryAcpCookieStore()) as user,
    ):
        met = Meeting(user, await user.new(), mind, watch)
        watch.debbie.monitor.subscribe_to_interventions(met.see)
        assert DONE in (await met.say(GREETING))[1]
        yield met


@pytest.mark.parametrize(
    ("fault", "strategies", "tried"),
    [
        pytest.param(HANG, None, ["prompt_injection"], id="a hang is prompted"),
        pytest.param(
            HUNG_TOOL,
            {"session_stall": ("state_reset",)},
            ["state_reset"],
            id="a hung tool is cancelled and the agent prompted",
        ),
        pytest.param(IDENTICAL_LOOP, None, ["state_reset"], id="a loop is cancelled"),
        pytest.param(
            IGNORES_PROMPTS,
            None,
            ["prompt_injection", "session_restart"],
            id="who ignores prompts gets a new session",
        ),
    ],
)
async def test_the_user_gets_an_answer_and_goes_on(
    fault: Fault, strategies: dict[str, Any] | None, tried: list[str], tmp_path: Path
) -> None:
    async with meeting(fault, tmp_path, strategies) as met:
        answer, words = await met.say(TASK)
        assert answer == {"stopReason": "end_turn"}  # the user has cancelled nothing
        assert DONE in words
        answer, words = await met.say(AFTERWARDS)
        assert answer == {"stopReason": "end_turn"}
        assert DONE in words
        await until(lambda: len(met.records) == len(tried))
    results = [InterventionResult.FAILURE] * (len(tried) - 1) + [InterventionResult.SUCCESS]
    assert met.tried() == list(zip(tried, results, strict=True))


async def test_an_agent_that_stays_stuck_is_never_called_a_success(tmp_path: Path) -> None:
    async with meeting(IGNORES_ALL, tmp_path) as met:
        asking = asyncio.get_running_loop().create_task(met.say(TASK))
        await until(lambda: any(r.strategy == "escalate" for r in met.records))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    results = [result for _, result in met.tried()]
    assert InterventionResult.SUCCESS not in results
    assert results[-1] is InterventionResult.ESCALATED


async def test_a_healthy_agent_is_left_alone(tmp_path: Path) -> None:
    async with meeting(HANG, tmp_path) as met:
        for number in range(3):
            assert DONE in (await met.say(f"Please do number {number}."))[1]
        await asyncio.sleep(2 * DETECTION["stall_threshold"])  # the user thinks
        assert DONE in (await met.say(AFTERWARDS))[1]
    assert met.records == []
    assert met.watch.before == met.watch.behind
