"""escalate: a person is told, over real HTTP."""

from __future__ import annotations

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.strategies.escalate import EscalateStrategy
from tests.intervention.escalation.escalating import escalating, hook
from tests.intervention.receiver import receiving
from tests.intervention.told import alert, failed, gone


async def tried_nothing(_: AnomalyAlert) -> list[InterventionRecord]:
    return []


async def tried_once(about: AnomalyAlert) -> list[InterventionRecord]:
    return [failed(about)]


async def test_the_strategy_tells_who_was_told() -> None:
    async with (
        receiving() as receiver,
        receiving(404) as other,
        escalating(hook(receiver), hook(other)) as escalator,
    ):
        strategy = EscalateStrategy(escalator, lambda a, _: gone(a), tried_once)
        done = await strategy(alert(), None)
    assert done.kind == "escalated"
    assert done.evidence["told"] == ["log", f"webhook {receiver.url}"]
    assert done.detail.endswith(f"; not webhook {other.url} (HTTP 404)")
    assert len(receiver.got[0].json["attempts"]) == 1


async def test_the_strategy_fails_where_only_the_log_was_told() -> None:
    async with receiving(404) as receiver, escalating(hook(receiver)) as escalator:
        strategy = EscalateStrategy(escalator, lambda a, _: gone(a), tried_nothing)
        done = await strategy(alert(), None)
        assert (done.kind, done.reason) == ("failed", "undelivered")
    async with escalating() as escalator:
        strategy = EscalateStrategy(escalator, lambda a, _: gone(a), tried_nothing)
        assert (await strategy(alert(), None)).kind == "escalated"
