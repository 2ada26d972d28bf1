from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.intervention.intervention_config import PROMPTS
from debbie_otel.intervention.prompts import prompt_for, summary
from debbie_otel.session.model import SessionInfo, Turn
from debbie_otel.wire.direction import MessageDirection
from tests.intervention.alerts import alert

INFO = SessionInfo(id="s1", dialect="acp", agent="a")


def turn(said: str | None, answered: str | None) -> Turn:
    return Turn(
        session=INFO,
        number=1,
        started_ns=0,
        method="m",
        direction=MessageDirection.CLIENT_TO_SERVER,
        input=said,
        output=answered,
    )


def test_prompts_rotate() -> None:
    said = [prompt_for({}, alert(), number) for number in range(4)]
    assert len(set(said)) == 3
    assert said[3] == said[0]


def test_every_built_in_template_can_be_filled_in() -> None:
    for alert_type, templates in PROMPTS.items():
        for number in range(len(templates)):
            text = prompt_for({}, alert(alert_type, details={"value": 6.0}), number)
            assert "{" not in text


def test_templates_of_the_user_win_and_star_is_for_the_rest() -> None:
    mine = {"session_stall": ("Go, {duration} s!",), "*": ("Hm.",)}
    assert prompt_for(mine, alert(), 0) == "Go, 30 s!"
    assert prompt_for(mine, alert("my_rule"), 0) == "Hm."
    assert prompt_for(mine, alert("my_rule"), 0, key="session_stall") == "Go, 30 s!"


@given(st.text(max_size=80))
def test_of_the_wire_only_a_tools_name_gets_into_a_prompt(name: str) -> None:
    text = prompt_for({"*": ("<{tool}>",)}, alert("x", subject=name), 0)
    inside = text[1:-1]
    assert inside == "the tool" or (
        inside == name and all(c.isalnum() or c in "_.:/-" for c in name)
    )


def test_a_fact_is_not_filled_in_again() -> None:
    assert prompt_for({"*": ("{tool}",)}, alert("x", subject="{count}"), 0) == "the tool"


# -- what was said before -------------------------------------------------------------------------


def test_a_summary_quotes_the_last_turns() -> None:
    turns = [turn("first", "one"), turn("second", None), turn(None, None), turn("third", "three")]
    assert summary(turns, 2, 1000).splitlines() == [
        "This conversation was interrupted. So far, it went:",
        'User: "second"',
        'User: "third"',
        'You: "three"',
    ]


def test_nothing_said_is_no_summary() -> None:
    assert summary([], 5, 1000) == ""
    assert summary([turn("a", "b")], 0, 1000) == ""
    assert summary([turn("a", "b")], 5, 3) == ""


@given(st.lists(st.tuples(st.text(max_size=3000), st.text(max_size=3000)), max_size=6))
def test_a_summary_is_bounded_and_its_quotes_hold(said: list[tuple[str, str]]) -> None:
    text = summary([turn(a, b) for a, b in said], 5, 2000)
    lines = text.split("\n")
    assert sum(len(line) + 1 for line in lines[1:-1]) <= 2000
    for line in lines[1:-1]:
        json.loads(line.partition(": ")[2])
