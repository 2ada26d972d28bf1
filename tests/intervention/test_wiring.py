"""All of interventions together, beside an event loop on which connections live."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from debbie_otel.detection.alerts import Transition
from debbie_otel.intervention.attempt import Environment
from debbie_otel.intervention.history_store import HistoryStore
from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.learning import Tally
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.intervention.wiring import Interventions
from tests.intervention import alerts
from tests.intervention.histories import fill
from tests.intervention.stage import LivePlay

CHECK = 1.5
"""Seconds that SQLite looks through the file; each reading and writing takes a third of it."""


def slow_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the history's file slow; return the threads that it is used on, as they come."""
    threads: list[int] = []
    check, add = HistoryStore.check, HistoryStore.add
    latest, tallies = HistoryStore.latest, HistoryStore.tallies

    def wait(seconds: float) -> None:
        threads.append(threading.get_ident())
        time.sleep(seconds)

    def slow_check(store: HistoryStore) -> None:
        wait(CHECK)
        check(store)

    def slow_add(
        store: HistoryStore, records: Sequence[InterventionRecord], most: int, before_ns: int
    ) -> None:
        wait(CHECK / 3)
        add(store, records, most, before_ns)

    def slow_latest(
        store: HistoryStore, limit: int, session_id: str | None = None, since_ns: int = 0
    ) -> list[InterventionRecord]:
        wait(CHECK / 3)
        return latest(store, limit, session_id, since_ns)

    def slow_tallies(store: HistoryStore) -> list[Tally]:
        wait(CHECK / 3)
        return tallies(store)

    monkeypatch.setattr(HistoryStore, "check", slow_check)
    monkeypatch.setattr(HistoryStore, "add", slow_add)
    monkeypatch.setattr(HistoryStore, "latest", slow_latest)
    monkeypatch.setattr(HistoryStore, "tallies", slow_tallies)
    return threads


async def test_connections_do_not_wait_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert in a learned order, and the escalation of it, ask the history and add to it."""
    path = tmp_path / "history.sqlite3"
    fill(path, 20)
    threads = slow_disk(monkeypatch)
    live = LivePlay()
    environment = Environment(
        sessions=live,
        events=live.monitor.events,
        clock=live.clock,
        guard=live.guard,
        records=live.session_records,
    )
    config = InterventionConfig(order="learned", recovery_timeout=0.05, escalation_threshold=1)
    done: list[InterventionRecord] = []

    def heard(event: InterventionEvent) -> None:
        if event.record is not None:
            done.append(event.record)

    async def in_vain(_: object) -> None:
        return None

    live.monitor.subscribe_to_interventions(heard)
    interventions = Interventions(config, path, environment, {"mine": in_vain, "other": in_vain})
    await interventions.start()
    longest, loop = 0.0, asyncio.get_running_loop()
    raised = alerts.alert(strategies=("custom:mine", "custom:other"))
    live.monitor.events.publish(Transition("alert", raised, live.clock()))
    deadline = loop.time() + 30
    while len(done) < 2 and loop.time() < deadline:
        before = loop.time()
        await asyncio.sleep(0.01)
        longest = max(longest, loop.time() - before)
    await interventions.stop()
    assert [record.result for record in done] == [
        InterventionResult.FAILURE,
        InterventionResult.ESCALATED,
    ]
    assert threads
    assert threading.get_ident() not in threads
    assert longest < CHECK / 3  # shorter than any one of the waits
