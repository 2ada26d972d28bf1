"""A Debbie with a thread of her own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from debbie_otel.app.background import BackgroundDebugger, Workers
from debbie_otel.app.clock import wall_clock
from debbie_otel.app.config import load_config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.transports.program.observed import Opening


def background(tmp_path: Path, made: list[DebbieDebugger]) -> BackgroundDebugger:
    config = load_config(flags={"telemetry": {"data_dir": str(tmp_path)}})

    def make() -> DebbieDebugger:
        made.append(DebbieDebugger(config, telemetry=False))
        return made[-1]

    return BackgroundDebugger(make, config, wall_clock())


def threads(others: list[threading.Thread] | None = None) -> list[str]:
    """Names of Debbie's threads, but for those that were there before."""
    alive = (t for t in threading.enumerate() if t not in (others or []))
    return sorted(t.name for t in alive if t.name.startswith("debbie"))


def test_she_is_made_once_when_she_is_needed_and_leaves_no_thread(tmp_path: Path) -> None:
    made: list[DebbieDebugger] = []
    others = threading.enumerate()
    one = background(tmp_path, made)
    assert (one.debbie, threads(others)) == (None, [])
    openings = [Opening(side="client"), Opening(side="server")]
    seen = [one.watch.open(opening) for opening in openings]
    assert one.debbie is made[0]
    assert len(made) == 1
    assert seen == made[0].interceptors
    assert "debbie" in threads(others)
    one.stop()
    assert not made[0].monitor.connections
    for thread in threading.enumerate():
        if thread.name.startswith("debbie") and thread not in others:
            thread.join(5)
    assert threads(others) == []


def test_after_its_end_nothing_observes(tmp_path: Path) -> None:
    made: list[DebbieDebugger] = []
    one = background(tmp_path, made)
    one.stop()
    assert one.watch.open(Opening(side="client")) is None
    assert made == []
    one.stop()


def test_an_error_at_its_start_is_told(tmp_path: Path) -> None:
    config = load_config(flags={"telemetry": {"data_dir": str(tmp_path)}})
    (tmp_path / "taken").mkdir()
    flags = {"proxy": {"record": str(tmp_path / "taken")}}
    broken = load_config(flags=flags)
    one = BackgroundDebugger(lambda: DebbieDebugger(broken, telemetry=False), config, wall_clock())
    with pytest.raises(Exception, match="taken"):
        one.watch.open(Opening(side="client"))
    one.stop()


async def test_workers_work() -> None:
    workers = Workers(2)
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(workers, lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(workers, lambda: 1 // 0)
    gate = threading.Event()
    busy = [workers.submit(gate.wait, 5) for _ in range(2)]
    waiting = workers.submit(gate.is_set)
    assert waiting.cancel()
    gate.set()
    assert [future.result(5) for future in busy] == [True, True]
    with pytest.raises(CancelledError):
        waiting.result(0)
    workers.shutdown()
