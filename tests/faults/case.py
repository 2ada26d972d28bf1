"""One fault in one dialect, with a real proxy between client and server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from debbie_otel.intervention.intervention_config import (
    STRATEGIES,
    ScriptSettings,
    ToolRetrySettings,
)
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import InterventionEvent
from tests.faults.butler import DIALECT
from tests.faults.client import Client
from tests.faults.dialects import PEERS
from tests.faults.faults import Fault
from tests.faults.memory import Hog, hog
from tests.faults.mind import Mind
from tests.integration.proxied import Proxied, config, proxied

Verdict = Literal["recovered", "escalated", "by itself", "failed"]

PATIENCE = 25.0
"""Seconds that a case may take."""

DETECTION: dict[str, Any] = {
    "enabled": True,
    "check_interval": 0.1,
    "stall_threshold": 1.0,
    "cooldown": 5.0,
}
INTERVENTIONS: dict[str, Any] = {
    "recovery_timeout": 2.0,
    "request_timeout": 1.5,
    "retry_delay": 0.1,
    "tool_retry": ToolRetrySettings(delay=0.05),
}
_SCRIPT = "import time; time.sleep(0.5); print('{}')"
"""Takes so long that the agent has time to go on by itself."""
_NO_GROWTH = 1 << 40  # bytes: the process of the tests itself is none that is watched


@dataclass(frozen=True)
class Case:
    """A fault in a dialect."""

    fault: Fault
    dialect: str

    def __str__(self) -> str:
        return f"{self.fault.name} [{self.dialect}]"

    @property
    def recoverable(self) -> bool:
        """Whether there is something to be done that helps."""
        return bool(self.fault.cures) and self.dialect not in self.fault.beyond

    @property
    def expected(self) -> Verdict:
        """What is to come of it."""
        if self.fault.heals_itself:
            return "by itself"
        return "recovered" if self.recoverable else "escalated"


@dataclass
class Result:
    """What came of a case.

    Attributes:
        records: All that Debbie did.
        went_on: Whether the client came to the end of its conversation.
        complaints: What the client wonders at.
        failures: Turns or calls that failed before its eyes.
        treatments: What the agent was subject to while it was ill.

    """

    case: Case
    records: list[InterventionRecord] = field(default_factory=list)
    went_on: bool = False
    complaints: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    treatments: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def about(self) -> list[InterventionRecord]:
        """The records about the fault's own alert."""
        return [r for r in self.records if r.alert_type == self.case.fault.alert]

    @property
    def verdict(self) -> Verdict:
        """In a word."""
        results = {record.result for record in self.about}
        if InterventionResult.SUCCESS in results:
            return "recovered"
        if InterventionResult.ESCALATED in results:
            return "escalated"
        reasons = {record.reason for record in self.about}
        return "by itself" if "recovered" in reasons else "failed"

    @property
    def time_to_recover(self) -> float | None:
        """Seconds from the alert to the agent's first move."""
        return next(
            (r.recovery_seconds for r in self.about if r.recovery_seconds is not None), None
        )

    def wrong(self) -> list[str]:
        """Return what is not as it should be."""
        case = self.case
        found = list(self.complaints)
        if self.verdict != case.expected:
            found.append(f"{self.verdict} instead of {case.expected}")
        if case.expected != "escalated" and not self.went_on:
            found.append("the client did not come to its end")
        return found


class _Course:
    """What happens in a case, as it happens."""

    def __init__(self, case: Case, it: Proxied, mind: Mind) -> None:
        self.records: list[InterventionRecord] = []
        self._case = case
        self._mind = mind
        self.ended = asyncio.Event()
        it.debbie.monitor.subscribe_to_interventions(self._see)

    def _see(self, event: InterventionEvent) -> None:
        if event.phase == "triggered" and self._case.fault.heals_itself:
            self._mind.recover()
        if event.record is None:
            return
        self.records.append(event.record)
        if Result(self._case, self.records).verdict != "failed":
            self.ended.set()


async def run(case: Case, folder: Path) -> Result:
    """Run a case; its files are in the folder."""
    began = time.monotonic()
    mind = Mind(case.fault)
    peers = PEERS[case.dialect]
    async with (
        _hog(case.fault) as process,
        peers.server(mind, process) as server,
        proxied(_config(case, server.url, folder, process)) as it,
        peers.client(it.url()) as client,
    ):
        course = _Course(case, it, mind)
        went_on = await _watch(case, client, course)
    return Result(
        case,
        records=course.records,
        went_on=went_on,
        complaints=client.complaints,
        failures=client.failures,
        treatments=[str(cure) for cure in mind.treatments],
        seconds=time.monotonic() - began,
    )


async def _watch(case: Case, client: Client, course: _Course) -> bool:
    """Wait until Debbie has an end, and then the client; return whether it came to one."""
    talking = asyncio.get_running_loop().create_task(client.converse(case.fault))
    ended = asyncio.get_running_loop().create_task(course.ended.wait())
    awaited = {ended} if case.expected == "escalated" else {ended, talking}
    await asyncio.wait(awaited, timeout=PATIENCE)
    went_on = talking.done() and talking.exception() is None
    if talking.done() and (problem := talking.exception()) is not None:
        client.complaints.append(f"{problem!r} after {client.received[-3:]}")
    for task in (talking, ended):
        task.cancel()
    await asyncio.gather(talking, ended, return_exceptions=True)
    return went_on


@contextlib.asynccontextmanager
async def _hog(fault: Fault) -> AsyncIterator[Hog | None]:
    if not fault.grows:
        yield None
        return
    async with hog() as process:
        yield process


def _config(case: Case, upstream: str, folder: Path, process: Hog | None) -> Any:
    dialect = folder / "butler.toml"
    dialect.write_text(DIALECT)
    (folder / "ponder.py").write_text(_SCRIPT)
    watched: dict[str, Any] = {"memory_floor": _NO_GROWTH} if process is None else {}
    settings = dict(case.fault.settings)
    if case.fault.heals_itself:
        by_alert = {case.fault.alert: "ponder"}
        settings["scripts"] = ScriptSettings(directory=folder, by_alert=by_alert)
    if "alert_strategy_map" in settings:
        settings["alert_strategy_map"] = STRATEGIES | settings["alert_strategy_map"]
    return config(
        upstream,
        folder,
        proxy={"watch_pid": os.getpid() if process is None else process.pid},
        dialects={"paths": (dialect,)},
        detection=DETECTION | watched,
        interventions=INTERVENTIONS | settings,
    )
