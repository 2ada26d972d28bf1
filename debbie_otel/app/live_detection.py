"""The detector of a configuration, and what drives it by wall time, beside an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from debbie_otel.app.config import Config
from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.control_metrics import DetectorReader
from debbie_otel.detection.detector import AnomalyDetector, MemoryProbe
from debbie_otel.detection.loops import LoopFinding
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import EventBus
from debbie_otel.session.model import Clock

URGENT_SECONDS = 0.1
"""How long an urgent look waits for more of the same; an alert comes within 250 ms."""


def detector_of(
    config: Config,
    memory: MemoryProbe | None = None,
    readers: list[DetectorReader] | None = None,
) -> AnomalyDetector:
    """Return the detector of a configuration: the same one live and in a replay.

    Args:
        config: Thresholds, and the user's own rules.
        memory: Reads the memory of the agent's process; a recording has none.
        readers: Of metrics of the user's; likewise.

    """
    return AnomalyDetector(config.detection, config.rules, memory, readers)


class LiveRunner:
    """Looks every interval, in a thread, so that the wire never waits for it.

    Args:
        detector: What to drive.
        clock: Tells the time.
        guard: What happens when it fails.
        events: Told of alerts that fire and resolve, on the event loop's thread, and of loops of
            the soft tier, on the thread of the wire.
        catch_up: Has what was seen so far told to the detector, before each look.

    """

    def __init__(
        self,
        detector: AnomalyDetector,
        clock: Clock,
        guard: FailOpen,
        events: EventBus,
        catch_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._detector = detector
        self._clock = clock
        self._guard = guard
        self._events = events
        self._catch_up = catch_up
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        detector.on_urgent = self._urgent
        detector.on_warning = self._warn
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._run(), name="detector")

    async def stop(self) -> None:
        """Look no more; raises what ended the looks before, which only a strict guard lets do."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended

    def _urgent(self) -> None:
        """Wake up; called on the thread of the wire, which inside a program may be any."""
        if self._loop is not None and not self._wake.is_set():
            call_on(self._loop, self._wake.set)

    def _warn(self, _: ev.Event, finding: LoopFinding) -> None:
        self._events.publish(finding)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        interval = self._detector.settings.check_interval
        due = loop.time() + interval
        while True:
            # Asked first: with errors in every message there would be urgent looks only.
            if loop.time() >= due:
                due = loop.time() + interval
                await self._look(self._detector.check)
            try:
                async with asyncio.timeout_at(due):  # wait_for may lose a cancellation
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(URGENT_SECONDS)  # a burst is one look, not one for each error
            self._wake.clear()
            await self._look(self._detector.check_urgent)

    async def _look(self, check: Callable[[int], list[Transition]]) -> None:
        with self._guard("anomaly detection"):
            self._catch_up()
            for transition in await asyncio.to_thread(check, self._clock()):
                self._events.publish(transition)
