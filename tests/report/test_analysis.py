from __future__ import annotations

import pytest

from debbie_otel.report.analysis import analyze, measure, response_times
from debbie_otel.report.metrics import ResponseTime
from debbie_otel.session.record import OpenStep, SeenAlert
from tests.intervention.attempts import attempt
from tests.play import SECOND
from tests.report.stories import LOOP, Watched, facts, step


def test_a_live_session_is_analysed() -> None:
    watched = Watched("mcp")
    watched.play(LOOP)
    watched.alert("session_stall", "silent for 31s")
    now = watched.stage.now + 31 * SECOND
    second, first = attempt(started_ns=20), attempt(started_ns=10)
    found = analyze(watched.facts(), [second, first], now)
    assert (found.session_id, found.dialect, found.live) == ("conn-A", "mcp", True)
    assert found.interventions == (first, second)
    assert [r.topic for r in found.recommendations] == ["tool_loop", "session_stall"]
    assert (
        "Tool list_files was called 9 times with the same arguments"
        in found.recommendations[0].text
    )
    metrics = found.metrics
    assert (metrics.messages, metrics.calls, metrics.tools, metrics.errors) == (20, 10, 9, 0)
    assert (metrics.stalls, metrics.alerts, metrics.pending) == (1, 1, 0)
    assert (metrics.idle, metrics.duration) == (31.0, 35.5)
    assert metrics.last_activity == 4.5


def test_what_is_open_counts_as_pending() -> None:
    waiting = (OpenStep("turn", "ask", 7 * SECOND), OpenStep("tool", "read", 9 * SECOND))
    metrics = measure(facts(open=waiting), 10 * SECOND)
    assert (metrics.pending, metrics.oldest_pending) == (2, 3.0)
    assert measure(facts(), 10 * SECOND).oldest_pending == 0.0


def test_a_session_that_has_ended_is_not_idle() -> None:
    metrics = measure(facts(started_ns=SECOND, ended_ns=3 * SECOND, last_ns=3 * SECOND), 9 * SECOND)
    assert (metrics.idle, metrics.duration, metrics.last_activity) == (None, 2.0, 3.0)


def test_a_session_of_which_nothing_is_known() -> None:
    metrics = measure(facts(), 10 * SECOND)
    assert (metrics.idle, metrics.duration, metrics.last_activity) == (None, None, None)
    assert metrics.response_times == ()


def test_only_stalls_are_stalls() -> None:
    alerts = tuple(
        SeenAlert(alert_type=kind, severity="high", message="", subject="", fired_ns=0)
        for kind in ("session_stall", "tool_loop", "session_stall")
    )
    metrics = measure(facts(alerts=alerts), SECOND)
    assert (metrics.stalls, metrics.alerts) == (2, 3)


def test_response_times() -> None:
    steps = [step(took=n / 100) for n in range(1, 101)]
    steps += [step(name="rare", took=2.0, outcome="failed")]
    steps += [step(name="cut", took=9.0, outcome="aborted")]
    steps += [step(kind="tool", name="read"), step(kind="tool", name="told", timed=False)]
    assert [times.method for times in response_times(steps, "tool")] == ["read"]
    ask, rare, cut = response_times(steps)
    assert (ask.method, ask.calls, ask.errors) == ("ask", 100, 0)
    assert (ask.p50, ask.p95, ask.slowest) == pytest.approx((0.505, 0.9505, 1.0))
    assert rare == ResponseTime(method="rare", calls=1, errors=1, p50=2.0, p95=2.0, slowest=2.0)
    assert cut == ResponseTime(method="cut", calls=1, errors=0, p50=None, p95=None, slowest=None)
