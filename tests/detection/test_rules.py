"""Rules of the user's own, on a MeterProvider of the user's own, through the detector's reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.settings import DetectionSettings, RuleSettings
from tests.detection.judged import Judged, told
from tests.play import SECOND


class Watched:
    """A program with a meter, and a detector that watches it by one rule, every five seconds."""

    def __init__(self, **rule: Any) -> None:
        settings = msgspec.convert({"name": "mine", **rule}, RuleSettings)
        self.detector = AnomalyDetector(DetectionSettings(cooldown=1.0), [settings])
        self.provider = MeterProvider(
            [self.detector.metric_reader()], resource=Resource.get_empty(), shutdown_on_exit=False
        )
        self.meter: Meter = self.provider.get_meter("app")
        self.now = 0

    def look(self, seconds: float = 5.0) -> list[Transition]:
        self.now += round(seconds * SECOND)
        return self.detector.check(self.now)

    def looks(self, count: int = 1) -> list[str]:
        """Look `count` times; return what alerts they led to."""
        return [told(transition) for _ in range(count) for transition in self.look()]

    def close(self) -> None:
        self.provider.shutdown()
        self.detector.shutdown()


@pytest.fixture
def watching() -> Iterator[Any]:
    made: list[Watched] = []

    def make(**rule: Any) -> Watched:
        made.append(Watched(**rule))
        return made[-1]

    yield make
    for watched in made:
        watched.close()


def test_the_sum_of_a_counter_over_a_window(watching: Any) -> None:
    watched = watching(metric="jobs.failed", aggregate="sum", over=12, above=3)
    jobs = watched.meter.create_counter("jobs.failed")
    jobs.add(2)
    assert watched.looks() == []
    jobs.add(2, {"queue": "other"})
    (fired,) = watched.look()
    assert told(fired) == "10s mine"
    assert fired.alert.message == "sum of jobs.failed is 4, above 3"
    assert fired.alert.since_ns == 5 * SECOND
    assert fired.alert.details == {
        "metric": "jobs.failed",
        "value": 4,
        "subject": "",
        "threshold": 3.0,
    }
    assert watched.looks(2) == ["20s mine resolved"]  # the first two are out of the window


def test_the_rate_of_a_counter(watching: Any) -> None:
    watched = watching(metric="jobs", aggregate="rate", over=10, above=1, severity="critical")
    jobs = watched.meter.create_counter("jobs")
    jobs.add(10)
    assert watched.looks() == []
    jobs.add(1)
    (fired,) = watched.look()
    assert fired.alert.details["value"] == 1.1
    assert fired.alert.severity == "critical"


def test_a_level_is_judged_by_its_last_value_above_or_below(watching: Any) -> None:
    watched = watching(metric="disk.free", below=10, strategies=["notify"])
    values = [50.0]

    def read(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(values[0])]

    watched.meter.create_observable_gauge("disk.free", [read])
    assert watched.looks(3) == []
    values[0] = 9.0
    (fired,) = watched.look()
    assert fired.alert.message == "last of disk.free is 9, below 10"
    assert fired.alert.strategies == ("notify",)
    assert watched.looks(2) == []
    values[0] = 10.0
    assert watched.looks() == ["35s mine resolved"]


def test_how_much_levels_grew_each_by_itself(watching: Any) -> None:
    watched = watching(metric="open", aggregate="sum", over=60, above=5)
    open_files = watched.meter.create_up_down_counter("open")
    open_files.add(100, {"disk": "a"})
    open_files.add(1, {"disk": "b"})
    assert watched.looks(2) == []
    open_files.add(4, {"disk": "a"})
    assert watched.looks() == []
    open_files.add(2, {"disk": "b"})
    (fired,) = watched.look()
    assert fired.alert.details["value"] == 6


def test_the_mean_of_a_histogram(watching: Any) -> None:
    watched = watching(metric="took", aggregate="mean", over=60, above=2)
    took = watched.meter.create_histogram("took")
    took.record(1)
    assert watched.looks() == []
    took.record(2)
    took.record(6)
    (fired,) = watched.look()
    assert fired.alert.details["value"] == 3


def test_a_quantile_of_a_histogram(watching: Any) -> None:
    watched = watching(metric="took", aggregate="quantile", quantile=0.9, above=3)
    took = watched.meter.create_histogram("took", explicit_bucket_boundaries_advisory=[1, 2, 5, 10])
    for _ in range(95):
        took.record(0.5)
    assert watched.looks() == []
    for _ in range(20):
        took.record(4.5)
    (fired,) = watched.look()
    # Of 115 values the 103.5th: 8.5 of the 20 that lie between 2 and 5 are below it.
    assert fired.alert.details["value"] == pytest.approx(3.275)


def test_a_rule_meant_for_some_points_looks_at_no_others(watching: Any) -> None:
    watched = watching(metric="errors", aggregate="sum", above=0, where={"code": "500"})
    errors = watched.meter.create_counter("errors")
    watched.meter.create_counter("errors.other").add(9, {"code": 500})
    errors.add(1, {"code": 404})
    errors.add(1)
    assert watched.looks() == []
    errors.add(1, {"code": 500})  # a number, and yet meant by the text of the configuration
    assert watched.looks() == ["10s mine"]


def test_subjects_are_judged_and_told_one_by_one(watching: Any) -> None:
    watched = watching(metric="queue", by="name", above=10, over=7)
    sizes = {"a": 1, "b": 2}

    def read(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(size, {"name": name}) for name, size in sizes.items()]

    watched.meter.create_observable_gauge("queue", [read])
    assert watched.looks() == []
    sizes["b"] = 11
    (fired,) = watched.look()
    assert told(fired) == "10s mine b"
    assert fired.alert.message == "last of queue of b is 11, above 10"
    sizes["a"], sizes["b"] = 12, 0
    assert watched.looks() == ["15s mine a", "15s mine b resolved"]


def test_it_must_hold_for_as_long_as_is_asked(watching: Any) -> None:
    watched = watching(**{"metric": "load", "above": 1, "for": 10})
    load = watched.meter.create_gauge("load")
    told_by_now = []
    for value in (2, 2, 0, 2, 2, 2):
        load.set(value)
        told_by_now.append(watched.looks())
    assert told_by_now == [[], [], [], [], [], ["30s mine"]]


def test_what_is_not_told_any_more_is_over_after_the_window(watching: Any) -> None:
    watched = watching(metric="load", above=1, over=20)
    watched.meter.create_gauge("load").set(5)
    assert watched.looks() == ["5s mine"]
    assert watched.looks(5) == ["25s mine resolved"]


def test_a_rule_on_a_control_metric_by_a_recordings_own_time() -> None:
    rule = msgspec.convert(
        {"name": "slow_start", "metric": "debbie.control.silence", "above": 8, "over": 5},
        RuleSettings,
    )
    stage = Judged(rules=(rule,))
    stage.watch('>> {"id":1,"method":"startSession","params":{"userId":"u"}}')
    stage.watch('<< {"id":1,"result":{"sessionId":"s1","status":1}}')
    stage.watch('>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"x"}}')
    assert stage.watch("+12") == ["10s slow_start"]
    assert stage.transitions[0].alert.session_id == "s1"
    stage.watch('<< {"id":2,"result":{"ai_response":"ok"}}')
    assert stage.watch("+11") == ["15s slow_start resolved"]
    stage.detector.shutdown()


def silent(**rule: Any) -> Judged:
    """Return two sessions of which the first hangs for twelve seconds, and the second for two."""
    mine = {"name": "mine", "metric": "debbie.control.silence", "above": 8, "over": 60, **rule}
    stage = Judged(rules=(msgspec.convert(mine, RuleSettings),))
    for name in ("s1", "s2"):
        stage.watch('>> {"id":1,"method":"startSession","params":{"userId":"u"}}')
        stage.watch(f'<< {{"id":1,"result":{{"sessionId":"{name}","status":1}}}}')
    asks = '>> {"id":"%s","method":"sendUserMessage","params":{"sessionId":"%s","message":"x"}}'
    stage.watch(asks % ("s1", "s1"))
    stage.watch("+9")
    stage.watch(asks % ("s2", "s2"))
    stage.watch("+3")
    return stage


def test_on_a_control_metric_each_session_is_judged_by_itself() -> None:
    stage = silent()
    assert [(told(t), t.alert.session_id) for t in stage.transitions] == [("10s mine", "s1")]
    stage.detector.shutdown()


def test_what_a_session_does_not_show_any_more_is_over_at_the_next_look() -> None:
    stage = silent()
    stage.watch('<< {"id":"s1","result":{"ai_response":"ok"}}')
    assert stage.watch("+5") == ["15s mine resolved"]
    stage.detector.shutdown()


@pytest.mark.parametrize("aggregate", ["last", "mean"])
def test_a_session_that_has_ended_raises_no_alert_anew(aggregate: str) -> None:
    stage = silent(aggregate=aggregate, above=0.5)
    assert {alert.session_id for alert in stage.detector.active} >= {"s1"}
    before = len(stage.transitions)
    stage.close()
    stage.watch("+0")  # that is seen before anything else
    stage.watch("+30")
    assert {t.event for t in stage.transitions[before:]} == {"resolved"}
    stage.detector.shutdown()


def test_an_urgent_look_neither_takes_a_rules_points_nor_ends_its_alerts() -> None:
    rule = msgspec.convert(
        {"name": "mine", "metric": "debbie.control.error.ratio", "above": 0.3}, RuleSettings
    )
    stage = Judged("generic", rules=(rule,))
    for number in range(6):
        stage.watch(f'>> {{"id":{number},"method":"m","params":{number}}}')
        # Each is an urgent look, and the last points are only there for it.
        stage.watch(f'<< {{"id":{number},"error":{{"code":-1,"message":"no"}}}}')
    assert "5s mine" in stage.watch("+6")
    stage.watch('>> {"id":9,"method":"m","params":9}')
    assert stage.watch('<< {"id":9,"error":{"code":-1,"message":"no"}}') == []
    assert "mine" in {alert.alert_type for alert in stage.detector.active}
    stage.detector.shutdown()
