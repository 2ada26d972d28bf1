"""Tasks that are kept."""

from __future__ import annotations

import asyncio

import pytest

from debbie_otel.transports.tasks import TaskSet


async def test_a_task_is_kept_until_it_has_ended() -> None:
    tasks, event = TaskSet(), asyncio.Event()

    async def work() -> None:
        await event.wait()

    task = tasks.start(work(), "work")
    assert len(tasks) == 1
    event.set()
    await task
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskSet()

    async def fail() -> None:
        raise ZeroDivisionError("seeded")

    await asyncio.wait([tasks.start(fail(), "failing")])
    await asyncio.sleep(0)
    [record] = caplog.records
    assert record.getMessage() == "the background task failing failed"
    assert len(tasks) == 0


async def test_cancel_waits_until_all_have_ended() -> None:
    tasks, ended = TaskSet(), []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    for number in range(3):
        tasks.start(work(number), f"work {number}")
    await asyncio.sleep(0)
    await tasks.cancel()
    assert sorted(ended) == [0, 1, 2]
    assert len(tasks) == 0
