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


@pytest.fixture
def stage(tmp_path: Path, collector: HttpCollector) -> Stage:
    return Stage(tmp_path, collector)


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent(SCRIPT, speed=20) as started:
        yield started
