"""Waiting for an agent: whether it moves after an attempt, or before the next one."""

from __future__ import annotations

import asyncio

from debbie_otel.intervention.attempt import Done
from debbie_otel.intervention.outcome import refusal
from debbie_otel.intervention.recovery import RecoveryWatch

LONGEST = 10
"""How long an agent is waited for that works, perhaps for us alone: times the usual."""


def over(watch: RecoveryWatch) -> tuple[str, str] | None:
    """Return reason and detail if there is nothing to be done any more."""
    if watch.moved is not None:
        return "recovered", f"the agent went on by itself: {watch.moved.what}"
    if watch.superseded:
        return "recovered", "the user has spoken again, and the loop is over with that"
    if watch.hopeless is not None and watch.ended:
        return "session_ended", watch.hopeless
    return None


async def verify(watch: RecoveryWatch, done: Done, seconds: float) -> None:
    """Wait until the agent has moved, or cannot any more, or has done nothing for too long."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + LONGEST * seconds
    changed = asyncio.Event()
    watch.notify(changed.set)
    answer = done.answer
    if answer is not None:
        answer.add_done_callback(lambda _: changed.set())
    try:
        async with asyncio.timeout(seconds) as limit:
            while watch.moved is None and watch.hopeless is None:
                if watch.unsure:  # it works, be it for us alone: what it leads to is seen then
                    watch.unsure = False
                    limit.reschedule(min(loop.time() + seconds, latest))
                watch.hopeless = None if answer is None else refusal(answer)
                if watch.hopeless is None:
                    await changed.wait()
                    changed.clear()
    except TimeoutError:
        return


async def pause(watch: RecoveryWatch, seconds: float) -> None:
    """Wait, but no longer than until the agent moves or its session ends."""
    changed = asyncio.Event()
    watch.notify(changed.set)
    if watch.moved is not None or watch.ended:
        return
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
