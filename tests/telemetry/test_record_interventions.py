"""What becomes of an intervention in the telemetry, received by OTLP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from debbie_otel import semconv
from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import Done, InterventionEvent
from tests.intervention import attempts
from tests.play import SECOND
from tests.telemetry.collector import grpc_collector
from tests.telemetry.watched import ANSWER, PROMPT, START, Watched

ACTED = Done.acted("prompted by sendUserMessage", text="Please go on, sk-0123456789abcdefghij")


KEYS = (
    semconv.INTERVENTION_STRATEGY,
    semconv.ALERT_TYPE,
    semconv.INTERVENTION_RESULT,
    semconv.INTERVENTION_REASON,
)


class Told(Watched):
    """A stage on which interventions are told."""

    alert: AnomalyAlert

    def tell(self, phase: Any, attempt: int = 1, **facts: Any) -> None:
        event = InterventionEvent(phase, self.alert, "prompt_injection", attempt, self.now, **facts)
        self.debbie.monitor.events.publish(event)

    def record(self, result: InterventionResult, **facts: Any) -> InterventionRecord:
        return attempts.attempt(
            alert_type="memory_spike",
            started_ns=self.now - SECOND,
            ended_ns=self.now,
            result=result,
            **facts,
        )

    def play(self, result: InterventionResult = InterventionResult.SUCCESS, **facts: Any) -> None:
        """An alert in a turn, an attempt, what came of it, and the end of the turn."""
        self.say(START)
        self.say(PROMPT)
        self.alert = self.publish()
        self.tell("triggered")
        self.tell("acted", done=ACTED)
        self.now += 2 * SECOND
        self.tell("ended", done=ACTED, record=self.record(result, **facts))
        self.say(ANSWER)

    def events(self, name: str) -> dict[str, dict[str, Any]]:
        """Span events of the span of that name, by their own names."""
        for span in self.collector.received.spans:
            if span.name == name:
                return {event.name: _attributes(event.attributes) for event in span.events}
        raise AssertionError(f"no span {name}")


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    with grpc_collector() as collector:
        one = Told(collector, tmp_path)
        yield one
        await one.debbie.stop()


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


async def test_the_attempt_the_recovery_and_the_turn_tell_the_story(told: Told) -> None:
    told.play(recovery_seconds=2.5)
    told.metrics()
    by_name = {span.name: span for span in told.collector.received.spans}
    turn = by_name["invoke_agent aiwhisperer"]
    attempt = by_name["debbie.intervention prompt_injection"]
    recovery = by_name["debbie.recovery"]
    assert attempt.parent_span_id == recovery.parent_span_id == turn.span_id
    assert attempt.end_time_unix_nano == told.now - 2 * SECOND, "it is seen at once"
    assert [link.span_id for link in recovery.links] == [attempt.span_id]

    told_there = told.events("debbie.intervention prompt_injection")
    assert set(told_there) == {"debbie.alert", "debbie.intervention.attempt"}
    assert told_there["debbie.intervention.attempt"]["debbie.intervention.attempt"] == 1
    outcome = told.events("debbie.recovery")["debbie.intervention.outcome"]
    assert outcome["debbie.intervention.result"] == "success"
    assert outcome["debbie.recovery.time"] == 2.5
    assert set(told.events("invoke_agent aiwhisperer")) == {
        "debbie.alert",
        "debbie.intervention.attempt",
        "debbie.intervention.outcome",
    }


@pytest.mark.parametrize("answered", [False, True])
async def test_an_attempt_leads_to_the_turn_that_it_opens(told: Told, answered: bool) -> None:
    for message in (START, PROMPT, ANSWER):
        told.say(message)
    told.alert = told.publish()
    told.now += SECOND
    told.tell("triggered")
    ours = [(way, text.replace('"id":2', '"id":77')) for way, text in (*PROMPT, *ANSWER)]
    told.interceptor.connection.expect(77)
    told.say(ours if answered else ours[:1])
    told.tell("acted", done=ACTED)
    told.tell("ended", done=ACTED, record=told.record(InterventionResult.SUCCESS))
    told.say(ours)
    told.metrics()
    spans = told.collector.received.spans
    _, turn, *_ = (span for span in spans if span.name == "invoke_agent aiwhisperer")
    assert _attributes(turn.attributes)["debbie.injected"] is True
    (attempt,) = (span for span in spans if span.name.startswith("debbie.intervention "))
    assert [link.span_id for link in attempt.links] == [turn.span_id]
    assert [_attributes(link.attributes) for link in attempt.links] == [
        {"debbie.link": "injected_turn"}
    ]


async def test_what_can_be_searched_is_on_the_spans_themselves(told: Told) -> None:
    told.play()
    told.metrics()
    for span in told.collector.received.spans:
        if span.name.startswith(("debbie.intervention", "debbie.recovery")):
            attributes = _attributes(span.attributes)
            assert attributes["session.id"] == "s1"
            assert attributes["debbie.intervention.strategy"] == "prompt_injection"
            assert attributes["debbie.alert.type"] == "memory_spike"


@pytest.mark.parametrize("captured", [False, True])
async def test_the_words_are_told_only_where_content_is_captured(
    tmp_path: Path, captured: bool
) -> None:
    with grpc_collector() as collector:
        told = Told(collector, tmp_path, capture_content=captured)
        told.play()
        told.metrics()
        attempt = told.events("debbie.intervention prompt_injection")["debbie.intervention.attempt"]
        await told.debbie.stop()
    expected = "Please go on, [redacted]" if captured else None
    assert attempt.get("debbie.intervention.text") == expected


async def test_a_failure_is_an_error_with_its_reason(told: Told) -> None:
    told.play(InterventionResult.FAILURE, reason="no_recovery", detail="the agent did nothing")
    told.metrics()
    recovery = next(s for s in told.collector.received.spans if s.name == "debbie.recovery")
    assert recovery.status.code == 2
    assert recovery.status.message == "the agent did nothing"
    assert _attributes(recovery.attributes)["debbie.intervention.reason"] == "no_recovery"


async def test_an_attempt_that_came_to_nothing_at_once_is_told_apart_from_its_outcome(
    told: Told,
) -> None:
    told.say(START)
    told.alert = told.publish()
    told.tell("triggered")
    failed = told.record(InterventionResult.FAILURE, reason="unreachable")
    told.tell("ended", record=failed)
    told.metrics()
    events = told.events("debbie.intervention prompt_injection")
    assert events["debbie.intervention.outcome"]["debbie.intervention.result"] == "failure"
    assert "debbie.intervention.result" not in events["debbie.intervention.attempt"]


async def test_what_was_skipped_is_one_span_with_its_reason(told: Told) -> None:
    told.say(START)
    told.say(PROMPT)
    told.alert = told.publish()
    skipped = told.record(InterventionResult.SKIPPED, reason="passive")
    told.tell("ended", attempt=0, record=skipped)
    told.say(ANSWER)
    metrics = told.metrics()
    names = [span.name for span in told.collector.received.spans]
    assert names.count("debbie.intervention prompt_injection") == 1
    assert "debbie.recovery" not in names
    for name in ("debbie.intervention prompt_injection", "invoke_agent aiwhisperer"):
        events = told.events(name)
        assert set(events) == {"debbie.alert", "debbie.intervention.outcome"}, "nothing attempted"
        assert events["debbie.intervention.outcome"]["debbie.intervention.reason"] == "passive"
    assert metrics.by(semconv.METRIC_INTERVENTIONS, *KEYS) == {
        ("prompt_injection", "memory_spike", "skipped", "passive"): 1
    }


async def test_two_attempts_at_once_in_a_session_are_two_spans(told: Told) -> None:
    """As two calls that fail are repeated side by side."""
    told.say(START)
    begun = []
    alert = told.publish()
    for _ in range(2):
        told.now += SECOND
        told.alert = msgspec.structs.replace(alert, fired_ns=told.now)
        told.tell("triggered")
        begun.append(told.alert)
    for told.alert in begun:
        told.tell("ended", record=told.record(InterventionResult.SUCCESS))
    told.metrics()
    spans = told.collector.received.spans
    name = "debbie.intervention prompt_injection"
    starts = [span.start_time_unix_nano for span in spans if span.name == name]
    assert starts == [alert.fired_ns for alert in begun]


async def test_attempts_are_counted_and_measured(told: Told) -> None:
    told.play(recovery_seconds=2.5)
    metrics = told.metrics()
    helped = ("prompt_injection", "memory_spike", "success", None)
    assert metrics.by(semconv.METRIC_INTERVENTIONS, *KEYS) == {helped: 1}
    assert metrics.by(semconv.METRIC_INTERVENTION_DURATION, *KEYS) == {helped: 1}
    assert metrics.by(semconv.METRIC_RECOVERY_TIME, *KEYS[:2]) == {helped[:2]: 1}
    assert metrics.units[semconv.METRIC_RECOVERY_TIME] == "s"


async def test_both_steps_are_log_events_of_the_trace(told: Told) -> None:
    told.play()
    told.metrics()
    attempt, outcome = (
        record for record in told.logs if record.event_name.startswith("debbie.intervention.")
    )
    assert attempt.event_name == "debbie.intervention.attempt"
    assert outcome.event_name == "debbie.intervention.outcome"
    turn = next(s for s in told.collector.received.spans if s.name == "invoke_agent aiwhisperer")
    assert attempt.trace_id == outcome.trace_id == turn.trace_id
    assert outcome.body.string_value.startswith("prompt_injection for memory_spike: success")
    assert _attributes(outcome.attributes)["session.id"] == "s1"


async def test_log_events_can_be_switched_off(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        told = Told(collector, tmp_path, log_events=False)
        told.play()
        told.metrics()
        await told.debbie.stop()
        assert told.logs == []
