from __future__ import annotations

import asyncio
import threading

from debbie_otel.intervention.event_loop import call_on


async def test_at_once_on_its_own_thread() -> None:
    called: list[int] = []
    call_on(asyncio.get_running_loop(), lambda: called.append(1))
    assert called == [1]


async def test_from_another_thread_and_another_loop() -> None:
    loop, here = asyncio.get_running_loop(), threading.get_ident()
    called: asyncio.Queue[int] = asyncio.Queue()

    async def elsewhere() -> None:
        call_on(loop, lambda: called.put_nowait(threading.get_ident()))

    await asyncio.to_thread(lambda: call_on(loop, lambda: called.put_nowait(threading.get_ident())))
    await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert [await called.get(), await called.get()] == [here, here]


def test_never_after_its_end() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    call_on(loop, lambda: 1 / 0)
