from __future__ import annotations

from debbie_otel.intervention.records import InterventionResult
from debbie_otel.telemetry.alert_instruments import AlertInstruments
from tests.intervention.attempts import attempt
from tests.telemetry.test_instruments import collected


def test_an_alert_is_counted_once_and_is_active_until_it_is_resolved() -> None:
    instruments = AlertInstruments()
    key = {"debbie.alert.type": "session_stall", "debbie.alert.severity": "high"}
    instruments.alert("session_stall", "high", "alert")
    found = collected(instruments)
    assert found["debbie.alerts"] == found["debbie.alerts.active"] == [(1, key)]
    instruments.alert("session_stall", "high", "resolved")
    found = collected(instruments)
    assert found["debbie.alerts"] == [(1, key)]
    assert found["debbie.alerts.active"] == [(0, key)]


def test_an_attempt_is_counted_with_its_outcome_and_measured() -> None:
    instruments = AlertInstruments()
    instruments.intervention(attempt(result=InterventionResult.SUCCESS, recovery_seconds=0.5))
    instruments.intervention(attempt(result=InterventionResult.SKIPPED, reason="cooldown"))
    about = {
        "debbie.intervention.strategy": "prompt_injection",
        "debbie.alert.type": "session_stall",
    }
    assert collected(instruments)["debbie.interventions"] == [
        (1, {**about, "debbie.intervention.result": "success"}),
        (1, {**about, "debbie.intervention.result": "skipped", "debbie.intervention.reason": "cooldown"}),
    ]  # fmt: skip
    duration, recovery = instruments.histograms
    measured = [
        [(dict(histogram._attributes(key)), series.total) for key, series in histogram._series.items()]
        for histogram in (duration, recovery)
    ]  # fmt: skip
    assert measured == [
        [({**about, "debbie.intervention.result": "success"}, 2.0)],
        [(about, 0.5)],
    ]


def test_unknown_tools_cannot_flood_the_metrics() -> None:
    instruments = AlertInstruments(limit=2)
    for tool in ("a", "b", "c", "d", "a"):
        instruments.tool_loop(tool)
    assert collected(instruments)["debbie.tool.loops"] == [
        (2, {"gen_ai.tool.name": "a"}),
        (1, {"gen_ai.tool.name": "b"}),
        (2, {"gen_ai.tool.name": "_OTHER"}),
    ]
