from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from debbie_otel.demo.agent import ScriptedAgent
from tests.integrations.stage import SCRIPT, Stage
from tests.telemetry.collector import HttpCollector, http_collector


@pytest.fixture
def collector() -> Iterator[HttpCollector]:
    with http_collector() as started:
        yield started


@pytest_asyncio.fixture
async def stage(tmp_path: Path, collector: HttpCollector) -> AsyncIterator[Stage]:
    started = Stage(tmp_path, collector)
    yield started
    await started.debbie.stop()  # where a run has ended her, she may still be at it


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent(SCRIPT, speed=20) as started:
        yield started
