"""The traffic of docker-compose.yml: the demo's agent and users, and `debbie proxy` between them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from debbie_otel.demo.scenes import MISHAPS
from tests.integration.command import environment, proxy_command
from tests.integration.received import Spans
from tests.stack.peers import ROOT
from tests.telemetry.collector import free_port

HASTE = """
[detection]
check_interval = 0.2
stall_threshold = 1.0
cooldown = 1.0
[interventions]
retry_delay = 0.1
recovery_timeout = 1.5
"""
LIMIT = 45.0


@contextlib.asynccontextmanager
async def demo(
    folder: Path, port: int, through: str, *flags: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "stack" / "demo.py"), "--listen", f"127.0.0.1:{port}"),
        *("--through", through, "--speed", "20", *flags),
        cwd=ROOT,
        env=environment(folder) | {"PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_round_plays_every_mishap_through_the_proxy(tmp_path: Path) -> None:
    (tmp_path / "haste.toml").write_text(HASTE)
    port = free_port()
    flags = ("--config", str(tmp_path / "haste.toml"), "--quiet", "--otlp", "http://127.0.0.1:1")
    async with proxy_command(
        f"ws://127.0.0.1:{port}/ws", *flags, data_dir=tmp_path, OTEL_LOGS_EXPORTER="none"
    ) as proxy:
        async with demo(tmp_path, port, f"{proxy.url}/ws", "--rounds", "1") as users:
            async with asyncio.timeout(LIMIT):
                out, _ = await users.communicate()
        assert users.returncode == 0, out.decode()
        await proxy.end()
    said = out.decode()
    for mishap in MISHAPS:
        assert mishap.title in said
    # Nobody took the telemetry: it is kept beside, all of it.
    sessions = Spans.of_file(tmp_path / "spool" / "traces.jsonl").named("debbie.session.end")
    assert len(sessions) == 1 + len(MISHAPS)


async def test_it_goes_on_without_a_proxy_until_it_is_told_to_end(tmp_path: Path) -> None:
    async with demo(tmp_path, free_port(), f"ws://127.0.0.1:{free_port()}/ws") as users:
        assert users.stdout is not None
        async with asyncio.timeout(LIMIT):
            first = await users.stdout.readline()
            second = await users.stdout.readline()
            users.send_signal(signal.SIGTERM)
            rest = await users.stdout.read()
            code = await users.wait()
    assert first == second
    assert b"OSError" in first or b"Refused" in first
    assert rest == b"ended\n"
    assert code == 0
