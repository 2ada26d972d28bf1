from __future__ import annotations

import pytest

from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.report.recommendations import Recommendation, recommend
from debbie_otel.session.record import OpenStep, SeenAlert, SessionRecord
from tests.intervention.attempts import attempt
from tests.play import SECOND
from tests.report.stories import facts, step

NOW = 200 * SECOND


def only(found: SessionRecord, *records: InterventionRecord) -> Recommendation:
    (recommendation,) = recommend(found, records, NOW)
    return recommendation


def alert(alert_type: str, message: str) -> SeenAlert:
    return SeenAlert(
        alert_type=alert_type, severity="high", message=message, subject="", fired_ns=NOW
    )


def test_nothing_where_nothing_stands_out() -> None:
    calm = facts(
        *[step(took=0.5), step(took=0.6), step(outcome="failed"), step(), step(), step()],
        *[step(kind="tool", name="read", asked=f"{n}") for n in range(9)],
        open=(OpenStep("call", "ask", NOW - 5 * SECOND),),
    )
    assert recommend(calm, (), NOW) == ()


def test_a_tool_that_was_repeated() -> None:
    calls = [
        step(kind="tool", name="list_files", turn=3, asked="x", started_ns=n * SECOND, took=0.5)
        for n in range(9)
    ]
    found = only(facts(*calls))
    assert found.topic == "tool_loop"
    assert found.text.startswith(
        "Tool list_files was called 9 times with the same arguments (turn 3) within 8.5 s, "
        "9 completed: "
    )
    assert found.evidence == {
        "tool": "list_files",
        "turn": 3,
        "count": 9,
        "seconds": 8.5,
        "outcomes": {"completed": 9},
    }


@pytest.mark.parametrize(
    "differing",
    [[{"asked": "x"}] * 2, [{"asked": "x", "turn": n} for n in range(9)], [{"asked": ""}] * 9],
)
def test_what_is_no_repetition(differing: list[dict[str, object]]) -> None:
    """Twice; once in each turn; with arguments that nobody knows."""
    calls = [step(kind="tool", name="poll", **fields) for fields in differing]
    assert recommend(facts(*calls), (), NOW) == ()


def test_arguments_are_shown_where_they_are_known() -> None:
    calls = [step(kind="tool", name="ls", asked="x", arguments='{"path":"/"}')] * 3
    assert 'the same arguments {"path":"/"} (turn 1)' in only(facts(*calls)).text


def test_a_loop_that_the_detector_alone_saw() -> None:
    loop = alert("tool_loop", "list_files: 5 identical calls")
    assert "fired once (last: list_files: 5 identical calls)" in only(facts(alerts=(loop,))).text
    known = [step(kind="tool", asked="x")] * 5
    assert len(recommend(facts(*known, alerts=(loop,)), (), NOW)) == 1


def test_stalls() -> None:
    stalls = (alert("session_stall", "silent for 31s"), alert("session_stall", "silent for 99s"))
    found = only(facts(alerts=stalls))
    assert found.text.startswith("session_stall fired 2 times (last: silent for 99s)")
    assert found.evidence["count"] == 2


def test_turns_that_ended_mid_task() -> None:
    turns = [
        step(kind="turn", turn=n, outcome="incomplete" if n in (2, 4) else "completed", tools=n)
        for n in range(1, 6)
    ]
    found = only(facts(*turns))
    assert "2 turns ended in the middle of the task (turns 2, 4: 6 tool calls" in found.text
    assert found.evidence == {"turns": [2, 4], "tools": 6}


def test_what_has_been_open_for_long() -> None:
    waiting = (
        OpenStep("tool", "read_file", NOW - 75 * SECOND),
        OpenStep("call", "approve", NOW - 40 * SECOND, waits=True),
        OpenStep("call", "quick", NOW - 29 * SECOND),
    )
    tool, call = recommend(facts(open=waiting), (), NOW)
    assert tool.text.startswith("Tool read_file has been open for 75.0 s")
    assert call.text == "Call approve waits for a person for 40.0 s: answer it."


def test_errors() -> None:
    calls = [step() for _ in range(12)]
    failed = [
        step(outcome="failed", error="429", message="too many"),
        *[step(outcome="failed", error="500") for _ in range(3)],
    ]
    found = only(facts(*calls, *failed))
    assert found.text.startswith(
        "Call ask failed 4 of 16 times (3x 500, 1x 429, last: too many): correct the cause"
    )
    assert found.evidence["errors"] == {"429": 1, "500": 3}
    assert recommend(facts(*calls, *calls, *failed), (), NOW) == ()  # one in seven


def test_tools_and_calls_of_one_name_are_two_things() -> None:
    mixed = [step(outcome="failed", error="x"), step(kind="tool", outcome="failed", error="x")]
    assert recommend(facts(*mixed), (), NOW) == ()


def test_slowness() -> None:
    calls = [step(took=0.2), step(took=0.25), step(took=4.0, turn=7), step(took=0.2)]
    found = only(facts(*calls))
    assert found.text.startswith("Call ask took 4.0 s in turn 7, usually 225 ms (4 times)")
    reported = [step(kind="tool", took=t, timed=False) for t in (0.2, 0.2, 9.0)]
    assert recommend(facts(*reported), (), NOW) == ()


def test_memory() -> None:
    found = only(facts(alerts=(alert("memory_spike", "300 MB, usually 100 MB"),)))
    assert "300 MB, usually 100 MB" in found.text


def test_a_strategy_that_does_not_help() -> None:
    failed = [attempt(result=InterventionResult.FAILURE) for _ in range(3)]
    found = only(facts(), *failed, attempt(result=InterventionResult.SKIPPED))
    assert found.text.startswith(
        "prompt_injection helped in 0% of 3 attempts against session_stall here"
    )
    assert found.evidence["attempts"] == 3
    assert recommend(facts(), failed[:2], NOW) == ()
    assert recommend(facts(), [*failed, attempt(), attempt()], NOW) == ()
