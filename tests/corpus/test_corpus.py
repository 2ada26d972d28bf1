"""The corpus is what it claims to be, and scoring tells good judges from bad ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from debbie_otel.app.recording import RecordedMessage
from debbie_otel.session import events as ev
from tests.corpus import evaluate, hard
from tests.corpus.case import (
    ALERT_TYPES,
    DEFAULTS,
    AlertSeen,
    Case,
    Defaults,
    Expected,
    Judge,
    Label,
)
from tests.corpus.generate import RECIPES, generate, play
from tests.corpus.limits import big_turn
from tests.corpus.scene import TURNS
from tests.corpus.scoring import compare, judge_case, tally
from tests.play import SECOND, Play


@pytest.fixture(scope="module")
def corpus() -> list[Case]:
    return [*hard.load(), *generate()]


def stage_of(case: Case) -> Play:
    """Play a case through the core."""
    stage = Play()
    for message in case.messages:
        stage.now = round(message.t * SECOND)
        stage.current = message.conn
        stage.send(message.direction, message.payload)
    return stage


@pytest.fixture(scope="module")
def played(corpus: list[Case]) -> list[tuple[Case, Play]]:
    return [(case, stage_of(case)) for case in corpus]


# -- what it consists of ---------------------------------------------------------------------------


def test_there_are_enough_cases_of_every_kind(corpus: list[Case]) -> None:
    healthy = sum(case.label.healthy for case in corpus)
    assert healthy >= 400
    assert len(corpus) - healthy >= 200
    kinds = Counter(e.alert_type for case in corpus for e in case.label.anomalies)
    budgets = {"call_budget", "token_budget", "turn_time"}  # off by default
    assert set(kinds) == set(ALERT_TYPES) - budgets
    for kind in ("session_stall", "tool_loop", "high_error_rate", "slow_response"):
        assert kinds[kind] >= 40, kinds
    assert {case.label.dialect for case in corpus} == {*TURNS, "mcp", "generic"}
    assert len({case.label.name for case in corpus}) == len(corpus)


def test_times_are_in_order_and_labels_within_them(corpus: list[Case]) -> None:
    for case in corpus:
        times = [message.t for message in case.messages]
        assert times == sorted(times), case.label.name
        assert times[-1] < case.label.end, case.label.name
        for expected in case.label.anomalies:
            assert times[0] <= expected.onset < expected.deadline, case.label.name
            assert expected.deadline <= case.label.end, case.label.name
            assert expected.alert_type not in case.label.tolerated, case.label.name


def test_a_seed_makes_the_same_corpus_and_another_seed_another() -> None:
    def some(seed: str) -> list[Case]:
        return [play(recipe, 0, seed) for recipe in RECIPES]

    assert some("one") == some("one")
    assert all(a.messages != b.messages for a, b in zip(some("one"), some("two"), strict=True))


def test_the_core_understands_every_case(played: list[tuple[Case, Play]]) -> None:
    for case, stage in played:
        name = case.label.name
        assert not stage.of(ev.StraySeen), name
        spoken = {connection.dialect.name for connection in stage.connections.values()}
        assert spoken == {case.label.dialect}, name
        sessions = {event.session.id for event in stage.of(ev.SessionStarted)}
        for expected in case.label.anomalies:
            assert expected.session is None or expected.session in sessions, name


def test_turns_begin_and_end_as_they_are_meant_to(played: list[tuple[Case, Play]]) -> None:
    for case, stage in played:
        started, ended = stage.of(ev.TurnStarted), stage.of(ev.TurnEnded)
        if case.label.dialect not in TURNS:
            assert not started, case.label.name
        elif case.label.healthy and case.label.name != "codex_approval_overnight":
            assert len(started) == len(ended), case.label.name


def test_what_a_loop_repeats_is_seen_as_tools(played: list[tuple[Case, Play]]) -> None:
    for case, stage in played:
        if case.label.theme in ("identical", "cycle", "drifting", "same_error", "key_order"):
            tools = stage.of(ev.ToolEnded)
            assert len(tools) > DEFAULTS.loop, case.label.name
            assert all(event.tool.arguments is not None for event in tools), case.label.name


def test_budgets_are_expected_only_where_they_are_set() -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.theme is big_turn)
    assert play(recipe, 0, "seed").label.healthy
    strict = Defaults(call_budget=50, turn_time=300.0)
    label = play(recipe, 0, "seed", strict).label
    assert [e.alert_type for e in label.anomalies] == ["call_budget", "turn_time"]


# -- scoring ---------------------------------------------------------------------------------------


def answering(corpus: Sequence[Case], lag: float = 0.1) -> Judge:
    """Return a judge who knows the labels, and answers `lag` seconds after each onset."""
    labels = {case.messages: case.label for case in corpus}

    def judge(messages: Sequence[RecordedMessage], end: float) -> list[AlertSeen]:
        return [seen(e, e.onset + lag) for e in labels[tuple(messages)].anomalies]

    return judge


def seen(expected: Expected, t: float) -> AlertSeen:
    return AlertSeen(t=t, alert_type=expected.alert_type, session_id=expected.session or "1")


def silent(messages: Sequence[RecordedMessage], end: float) -> list[AlertSeen]:
    return []


def noisy(messages: Sequence[RecordedMessage], end: float) -> list[AlertSeen]:
    return [AlertSeen(t=1.0, alert_type=kind, session_id="1") for kind in ALERT_TYPES]


@pytest.fixture(scope="module")
def sample() -> list[Case]:
    return [play(recipe, 0, "sample") for recipe in RECIPES]


def test_a_perfect_judge_has_perfect_scores(sample: list[Case]) -> None:
    verdicts = evaluate.evaluate(sample, answering(sample))
    assert all(verdict.passed for verdict in verdicts)
    for score in tally(verdicts).values():
        assert (score.precision, score.recall) == (1.0, 1.0)
        assert score.delay(0.5) == pytest.approx(0.1 if score.cases else None)


def test_a_silent_judge_has_no_recall(sample: list[Case]) -> None:
    scores = tally(evaluate.evaluate(sample, silent))
    found = [score for score in scores.values() if score.cases]
    assert found
    assert all((score.recall, score.precision) == (0.0, 1.0) for score in found)
    assert all(score.delay(0.5) is None for score in found)


def test_a_noisy_judge_has_no_precision(sample: list[Case]) -> None:
    scores = tally(evaluate.evaluate(sample, noisy))
    healthy = sum(case.label.healthy for case in sample)
    for score in scores.values():
        assert score.precision < 0.5
        assert score.healthy_alerted == healthy


LABEL = Label(
    name="two",
    theme="two",
    dialect="acp",
    end=200.0,
    anomalies=(Expected(alert_type="session_stall", onset=10.0, deadline=45.0, session="s"),),
    tolerated=frozenset({"request_timeout"}),
)


@pytest.mark.parametrize(
    ("alert_type", "session", "t", "hits", "wrong"),
    [
        ("session_stall", "s", 45.0, 1, 0),
        ("session_stall", "s", 10.0, 1, 0),
        ("session_stall", "s", 9.9, 0, 1),  # before there was anything to see
        ("session_stall", "s", 45.1, 0, 0),  # too late, but true
        ("session_stall", "other", 40.0, 0, 1),
        ("tool_loop", "s", 40.0, 0, 1),
        ("request_timeout", "s", 40.0, 0, 0),
    ],
)
def test_an_alert_counts_by_type_session_and_time(
    alert_type: str, session: str, t: float, hits: int, wrong: int
) -> None:
    verdict = compare(LABEL, [AlertSeen(t=t, alert_type=alert_type, session_id=session)])
    assert (len(verdict.hits), len(verdict.missed)) == (hits, 1 - hits)
    assert len(verdict.wrong) == wrong


def test_the_same_alert_again_counts_once() -> None:
    twice = [seen(LABEL.anomalies[0], 40.0), seen(LABEL.anomalies[0], 140.0)]
    verdict = compare(LABEL, twice)
    assert verdict.hits == [(LABEL.anomalies[0], 30.0)]
    assert verdict.passed


def test_what_is_tolerated_in_one_case_is_wrong_in_a_healthy_one() -> None:
    healthy = msgspec.structs.replace(LABEL, anomalies=(), tolerated=frozenset())
    alert = AlertSeen(t=50.0, alert_type="request_timeout", session_id="s")
    assert compare(healthy, [alert]).wrong == [alert]


def test_the_judge_is_told_when_the_clock_stops(sample: list[Case]) -> None:
    ends: list[float] = []

    def judge(messages: Sequence[RecordedMessage], end: float) -> list[AlertSeen]:
        ends.append(end)
        return []

    judge_case(sample[0], judge)
    assert ends == [sample[0].label.end]


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_how_good_a_judge_is(
    corpus: list[Case], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([], answering(corpus)) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["session_stall"][5:9] == ["1.000", "1.000", "0.10", "s"]
    assert "memory_spike     not in recordings" in out
    assert "of which 0 with alerts" in out


def test_the_command_fails_with_a_bad_judge_and_tells_where(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate.main(["--type", "slow_response", "--verbose"], silent) == 1
    out = capsys.readouterr().out
    assert "one_method/mcp/0" in out
    assert "missed slow_response" in out
    assert "tool_loop" not in out
