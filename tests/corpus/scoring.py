"""Compares alerts with labels.

For each alert type: an expected alert that came in time is a true positive, one that did not a
false negative. An alert is a false positive in a healthy session; in a sick one if it is of a type
that is neither expected nor tolerated, if it names the wrong session, or if it comes before there
is anything to notice. The same alert once more, later on, is neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from tests.corpus.case import ALERT_TYPES, AlertSeen, Case, Expected, Judge, Label

TARGET = 0.98


class Verdict(msgspec.Struct):
    """What a judge made of one case.

    Attributes:
        hits: Expected alerts that came, with the seconds from onset to alert.
        missed: Expected alerts that did not.
        wrong: Alerts that should not have come.

    """

    label: Label
    alerts: list[AlertSeen]
    hits: list[tuple[Expected, float]]
    missed: list[Expected]
    wrong: list[AlertSeen]

    @property
    def passed(self) -> bool:
        """Whether all is as the label says."""
        return not (self.missed or self.wrong)


class Score(msgspec.Struct):
    """How well one alert type is judged; `delays` are the seconds that true positives took."""

    alert_type: str
    cases: int = 0
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    healthy_alerted: int = 0
    delays: list[float] = []

    @property
    def precision(self) -> float:
        """Share of alerts that are right; 1 without alerts."""
        alerts = self.true_positives + self.false_positives
        return self.true_positives / alerts if alerts else 1.0

    @property
    def recall(self) -> float:
        """Share of anomalies that were noticed; 1 where there are none."""
        anomalies = self.true_positives + self.false_negatives
        return self.true_positives / anomalies if anomalies else 1.0

    @property
    def good(self) -> bool:
        """Whether the target is reached."""
        return self.precision >= TARGET and self.recall >= TARGET

    def delay(self, share: float) -> float | None:
        """Return a quantile of the time to detect, seconds."""
        if not self.delays:
            return None
        ordered = sorted(self.delays)
        if share == 0.5:
            return median(ordered)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def judge_case(case: Case, judge: Judge) -> Verdict:
    """Have a case judged, and compare."""
    return compare(case.label, judge(case.messages, case.label.end))


def compare(label: Label, alerts: Sequence[AlertSeen]) -> Verdict:
    """Compare the alerts that were raised with those that should have been."""
    hits: list[tuple[Expected, float]] = []
    missed: list[Expected] = []
    for expected in label.anomalies:
        times = [a.t for a in alerts if _concerns(a, expected) and _in_time(a, expected)]
        if times:
            hits.append((expected, min(times) - expected.onset))
        else:
            missed.append(expected)
    wrong = [alert for alert in alerts if _is_wrong(alert, label)]
    return Verdict(label, list(alerts), hits, missed, wrong)


def _concerns(alert: AlertSeen, expected: Expected) -> bool:
    right_session = expected.session is None or expected.session == alert.session_id
    return alert.alert_type == expected.alert_type and right_session


def _in_time(alert: AlertSeen, expected: Expected) -> bool:
    return expected.onset <= alert.t <= expected.deadline


def _is_wrong(alert: AlertSeen, label: Label) -> bool:
    if alert.alert_type in label.tolerated:
        return False
    concerning = [expected for expected in label.anomalies if _concerns(alert, expected)]
    return not any(expected.onset <= alert.t for expected in concerning)


def tally(verdicts: Iterable[Verdict]) -> dict[str, Score]:
    """Add up the verdicts by alert type."""
    scores = {alert_type: Score(alert_type, delays=[]) for alert_type in ALERT_TYPES}
    for verdict in verdicts:
        for expected, delay in verdict.hits:
            score = scores[expected.alert_type]
            score.true_positives += 1
            score.delays.append(delay)
        for expected in verdict.missed:
            scores[expected.alert_type].false_negatives += 1
        for alert_type in {expected.alert_type for expected in verdict.label.anomalies}:
            scores[alert_type].cases += 1
        for alert in verdict.wrong:
            scores.setdefault(alert.alert_type, Score(alert.alert_type, delays=[]))
            scores[alert.alert_type].false_positives += 1
        if verdict.label.healthy:
            for alert_type in {alert.alert_type for alert in verdict.wrong}:
                scores[alert_type].healthy_alerted += 1
    return scores
