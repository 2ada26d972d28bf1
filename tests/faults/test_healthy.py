"""Five hundred healthy sessions at once, over real sockets: Debbie does nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from debbie_otel.detection.alerts import Transition
from debbie_otel.intervention.steps import InterventionEvent
from tests.faults.butler import DIALECT
from tests.faults.case import INTERVENTIONS
from tests.faults.dialects import PEERS
from tests.faults.healthy import STALL, HealthyMind, live
from tests.integration.proxied import config, proxied

pytestmark = pytest.mark.faults

SESSIONS = 100
"""Of each of the five dialects."""
TURNS = 4
SPREAD = 6.0
"""Seconds over which they begin."""
SECONDS = 55.0


async def populate(dialect: str, folder: Path, butler: Path) -> list[Any]:
    """Have a hundred sessions through one proxy; return all that it alerted to or did."""
    noticed: list[Any] = []
    peers = PEERS[dialect]

    async def one(number: int) -> None:
        await asyncio.sleep(SPREAD * number / SESSIONS)
        async with peers.client(url) as client:
            await live(client, number, TURNS)
            assert client.complaints == []

    async with (
        peers.server(HealthyMind(7, shows_tools=dialect not in ("aiwhisperer", "mcp"))) as server,
        proxied(
            config(
                server.url,
                folder,
                proxy={"watch_pid": os.getpid()},
                dialects={"paths": (butler,)},
                detection={
                    "enabled": True,
                    "check_interval": 0.25,
                    "stall_threshold": STALL,
                    "slow_floor": 0.5,  # answers within milliseconds vary with the machine
                    "memory_floor": 1 << 40,
                },
                interventions=INTERVENTIONS,
            )
        ) as it,
    ):
        url = it.url()

        def alerted(transition: Transition) -> None:
            noticed.append(transition.alert.message)

        def intervened(event: InterventionEvent) -> None:
            noticed.append((event.alert.alert_type, event.strategy, event.phase))

        it.debbie.monitor.subscribe_to_alerts(alerted)
        it.debbie.monitor.subscribe_to_interventions(intervened)
        async with asyncio.TaskGroup() as group:
            for number in range(SESSIONS):
                group.create_task(one(number))
    return noticed


@pytest.mark.usefixtures("bare_environment")
async def test_nothing_is_done_about_healthy_sessions(tmp_path: Path) -> None:
    (tmp_path / "butler.toml").write_text(DIALECT)
    populations = (populate(name, tmp_path / name, tmp_path / "butler.toml") for name in PEERS)
    async with asyncio.timeout(SECONDS):
        noticed = await asyncio.gather(*populations)
    assert dict(zip(PEERS, noticed, strict=True)) == {name: [] for name in PEERS}
