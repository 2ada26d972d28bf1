"""Alerts in the telemetry, received by OTLP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from debbie_otel import semconv
from tests.integration.received import Metrics, Span
from tests.play import C2S, S2C, SECOND
from tests.telemetry.collector import grpc_collector
from tests.telemetry.watched import ANSWER, PROMPT, START, Watched

TURN_OVER = 60


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    with grpc_collector() as collector:
        one = Watched(collector, tmp_path)
        yield one
        await one.debbie.stop()


def events_of(watched: Watched, span: Span) -> list[Any]:
    """Return the span events of a span, as received."""
    return [
        event
        for received in watched.collector.received.spans
        if received.span_id.hex() == span.span_id
        for event in received.events
    ]


def ids(record: Any) -> tuple[str, str]:
    return record.trace_id.hex(), record.span_id.hex()


async def test_an_alert_in_an_open_turn(watched: Watched) -> None:
    watched.say(START + PROMPT)
    assert watched.wait(20) == []
    (fired,) = watched.wait(15)
    assert fired.alert.alert_type == "session_stall"
    watched.now += 5 * SECOND
    watched.say(ANSWER)
    assert [t.event for t in watched.wait(1)] == ["resolved"]
    await watched.debbie.stop()
    (turn,), alert = watched.spans.turns, watched.spans.one("debbie.alert session_stall")
    assert (alert.parent_id, alert.trace_id, alert.kind) == (
        turn.span_id,
        turn.trace_id,
        "INTERNAL",
    )
    assert alert.start == alert.end == fired.time_ns
    assert alert.attributes == {
        "session.id": "s1",
        "debbie.alert.type": "session_stall",
        "debbie.alert.severity": "high",
        "debbie.alert.message": fired.alert.message,
        "debbie.alert.duration": 35.0,
        "debbie.alert.value": 35.0,
        "debbie.alert.threshold": 30.0,
        "debbie.alert.subject": "sendUserMessage",
    }
    for span in (turn, alert):
        (event,) = events_of(watched, span)
        assert (event.name, event.time_unix_nano) == ("debbie.alert", fired.time_ns)
        assert {"debbie.alert.type", "debbie.alert.value"} <= {a.key for a in event.attributes}
    opened, closed = watched.logs
    assert (opened.event_name, opened.severity_text) == ("debbie.alert", "ERROR")
    assert opened.body.string_value == fired.alert.message
    assert (closed.event_name, closed.severity_text) == ("debbie.alert.resolved", "INFO")
    assert (opened.time_unix_nano, closed.time_unix_nano) == (fired.time_ns, watched.now)
    assert ids(opened) == ids(closed) == (turn.trace_id, turn.span_id)
    durations = [
        {a.key: a.value for a in r.attributes}["debbie.alert.duration"].double_value
        for r in (opened, closed)
    ]
    assert durations == [35.0, 41.0]


async def test_an_alert_after_the_turn_belongs_to_the_last_one(watched: Watched) -> None:
    watched.say(START + PROMPT)
    watched.now += SECOND
    watched.say(ANSWER)
    watched.wait(TURN_OVER)
    watched.publish()
    await watched.debbie.stop()
    (turn,), alert = watched.spans.turns, watched.spans.one("debbie.alert memory_spike")
    assert turn.end < alert.start
    assert (alert.trace_id, alert.parent_id) == (turn.trace_id, turn.span_id)
    assert events_of(watched, turn) == []
    assert [ids(record) for record in watched.logs] == [(turn.trace_id, turn.span_id)]
    assert alert.picked("debbie.alert.") == {
        "debbie.alert.type": "memory_spike",
        "debbie.alert.severity": "medium",
        "debbie.alert.message": "Too much",
        "debbie.alert.subject": "a subject",
        "debbie.alert.duration": 2.0,
        "debbie.alert.value": 2,
        "debbie.alert.threshold": 1.5,
    }


async def test_an_alert_before_any_turn_belongs_to_the_start_of_the_session(
    watched: Watched,
) -> None:
    watched.say(START)
    watched.publish()
    await watched.debbie.stop()
    start = watched.spans.one("debbie.session.start")
    assert watched.spans.one("debbie.alert memory_spike").parent_id == start.span_id


async def test_an_alert_of_no_session_is_a_trace_of_its_own(watched: Watched) -> None:
    watched.say(START)
    watched.publish(session_id="")
    await watched.debbie.stop()
    alert = watched.spans.one("debbie.alert memory_spike")
    assert alert.parent_id == ""
    assert [ids(record) for record in watched.logs] == [(alert.trace_id, alert.span_id)]


@pytest.mark.parametrize(
    ("severity", "text"),
    [("low", "WARN"), ("medium", "WARN"), ("high", "ERROR"), ("critical", "ERROR")],
)
async def test_severity_of_the_log_event(watched: Watched, severity: str, text: str) -> None:
    watched.say(START)
    watched.publish(severity)
    assert watched.debbie.pipeline is not None
    assert watched.debbie.pipeline.flush(5)
    assert [record.severity_text for record in watched.logs] == [text]


async def test_alerts_are_counted(watched: Watched) -> None:
    watched.say(START)
    first, second = watched.publish(), watched.publish()
    key = (semconv.ALERT_TYPE, semconv.ALERT_SEVERITY)
    metrics = watched.metrics()
    assert metrics.by("debbie.alerts", *key) == {("memory_spike", "medium"): 2}
    assert metrics.by("debbie.alerts.active", *key) == {("memory_spike", "medium"): 2}
    watched.resolve(first)
    metrics = watched.metrics()
    assert metrics.total("debbie.alerts") == 2
    assert metrics.total("debbie.alerts.active") == 1
    watched.interceptor.close(watched.now, "disconnected")
    watched.resolve(second)  # its session is gone: it still counts where it was counted
    assert watched.metrics().total("debbie.alerts.active") == 0


async def test_a_second_dialect_does_not_take_the_end_of_an_alert(watched: Watched) -> None:
    other = watched.debbie.interceptor(key="conn-B")
    initialize = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}'
    other.message_received(C2S, initialize.encode(), watched.now)
    other.message_received(
        S2C, b'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1}}', watched.now
    )
    watched.say(START)
    alert = watched.publish()
    watched.interceptor.close(watched.now, "disconnected")
    watched.resolve(alert)
    watched.metrics()
    by_service: dict[str, list[float]] = {}
    for request in watched.collector.received.metrics:
        for resource in Metrics([request]).resources:
            name = resource["service.name"]
            by_service.setdefault(name, []).append(Metrics([request]).total("debbie.alerts.active"))
    assert len(by_service) == 2
    assert {values[-1] for values in by_service.values()} == {0}


async def test_without_log_events(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        watched = Watched(collector, tmp_path, log_events=False)
        watched.say(START)
        watched.resolve(watched.publish())
        await watched.debbie.stop()
        assert watched.spans.named("debbie.alert memory_spike")
        assert watched.logs == []


async def test_nothing_without_telemetry(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with grpc_collector() as collector:
        watched = Watched(collector, folder, enabled=False)
        watched.say(START + PROMPT)
        assert len(watched.wait(35)) == 1
        watched.resolve(watched.publish())
        assert len(watched.transitions) == 3  # programs are told all the same
        assert await watched.debbie.stop() is None
        assert watched.transitions[-1].event == "resolved"
        assert collector.received.headers == []
    assert not folder.exists()


async def test_at_the_end_no_alert_is_left_active(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        watched = Watched(collector, tmp_path)
        watched.say(START)
        watched.say(PROMPT)
        (stall,) = watched.wait(TURN_OVER)
        assert stall.event == "alert"
        await watched.debbie.stop()
        assert [t.event for t in watched.transitions] == ["alert", "resolved"]
        metrics = Metrics(collector.received.metrics)
        assert metrics.by(semconv.METRIC_ALERTS_ACTIVE, semconv.ALERT_TYPE) == {
            ("session_stall",): 0
        }
