"""Escalation to a real Alertmanager: alerts appear there, stay, and are resolved."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from debbie_otel.app.clock import wall_clock
from debbie_otel.intervention.escalation import Escalator
from debbie_otel.intervention.intervention_config import EscalationSettings
from tests.intervention.receiver import receiving
from tests.intervention.told import alert, failed, gone
from tests.telemetry.collector import free_port

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(PROGRAM is None, reason="no alertmanager: `make stack` installs it"),
]


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, hook: str) -> AsyncIterator[str]:
    """Run an Alertmanager that tells `hook`; yield its URL."""
    assert PROGRAM is not None
    url = f"http://127.0.0.1:{free_port()}"
    (folder / "am.yml").write_text(
        "route: {receiver: hook, group_wait: 0s, group_interval: 1s, group_by: ['...']}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook}'}}]}}]\n"
    )
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            f"--config.file={folder / 'am.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--cluster.listen-address=",
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        await until(lambda: fetch(f"{url}/-/ready"))
        yield url
    finally:
        process.terminate()
        await process.wait()


async def fetch(url: str) -> httpx.Response | None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with contextlib.suppress(httpx.TransportError):
            response = await client.get(url)
            return response if response.is_success else None
    return None


async def until(look: Any) -> Any:
    """Return what `look` returns once that is true."""
    async with asyncio.timeout(15):
        while not (found := await look()):  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.05)
        return found


async def listed(url: str) -> list[dict[str, Any]]:
    response = await fetch(f"{url}/api/v2/alerts")
    assert response is not None
    found: list[dict[str, Any]] = response.json()
    return found


async def test_an_alert_is_raised_kept_and_resolved(tmp_path: Path) -> None:
    now = wall_clock()
    loop_ = alert("tool_loop", severity="critical", subject="read", fired_ns=now(), since_ns=now())
    async with receiving() as pager, alertmanager(tmp_path, pager.url) as url:
        settings = EscalationSettings(alertmanager=(url,), labels={"team": "agents"}, repeat=0.3)
        escalator = Escalator(settings, {}, now)
        await escalator.start()
        try:
            outcome = await escalator.raise_alert(loop_, gone(loop_), [failed(loop_)])
            assert outcome.delivered == ("log", f"alertmanager {url}")
            (raised,) = await listed(url)
            assert raised["status"]["state"] in ("unprocessed", "active")
            assert raised["labels"]["alertname"] == "DebbieToolLoop"
            assert raised["labels"]["session_id"] == "s1"
            assert raised["labels"]["team"] == "agents"
            assert raised["annotations"]["summary"] == loop_.message
            assert "Tried: prompt_injection failure" in raised["annotations"]["description"]

            await pager.wait(1)
            assert pager.got[0].json["status"] == "firing"

            async def kept() -> bool:  # told again: it would have ended by itself before
                (again,) = await listed(url)
                return bool(again["endsAt"] > raised["endsAt"])

            await until(kept)
            await escalator.resolve(loop_)
            await pager.wait(2)
            assert pager.got[-1].json["status"] == "resolved"
            assert await listed(url) == []
        finally:
            await escalator.stop()


async def test_an_alert_ends_by_itself_if_debbie_does(tmp_path: Path) -> None:
    now = wall_clock()
    stall = alert(fired_ns=now(), since_ns=now())
    async with receiving() as pager, alertmanager(tmp_path, pager.url) as url:
        escalator = Escalator(EscalationSettings(alertmanager=(url,), repeat=0.5), {}, now)
        await escalator.start()
        await escalator.raise_alert(stall, gone(stall), [])
        await escalator.stop()
        assert len(await listed(url)) == 1

        async def over() -> bool:
            return await listed(url) == []

        await until(over)
