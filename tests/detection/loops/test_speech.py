"""Monologue and chanting, and texts that repeat themselves by nature."""

from __future__ import annotations

import random

import pytest

from tests.detection.loops.loops import Agent

LONG = "I will now have a look at the configuration, and then go on with the next step."
SHORT = "Still working."
SENTENCE = "the proxy reads every frame and passes it on unchanged while a copy is parsed beside"
WORDS = SENTENCE.split()


def prose(characters: int) -> str:
    source = random.Random(7)
    text = ""
    while len(text) < characters:
        text += " ".join(source.choices(WORDS, k=12)) + f" {source.randrange(1000)}.\n"
    return text[:characters]


def test_monologue() -> None:
    agent = Agent()
    for size in (20, 7, 100):  # however it is cut into chunks
        agent.say(LONG, size)
    assert agent.told == [("monologue", "hard", 3)]
    assert agent.found[0].tool is None
    agent.say(LONG)
    assert agent.detector.active is not None
    assert agent.detector.active.count == 4
    agent.say("Something else.")
    assert agent.detector.active is None


def test_a_short_word_may_come_more_often() -> None:
    agent = Agent()
    for _ in range(5):
        agent.say(SHORT)
    assert agent.told == [("monologue", "soft", 3)]
    agent.say(SHORT)
    assert agent.told[1:] == [("monologue", "hard", 6)]


def test_with_a_tool_between_it_is_no_monologue() -> None:
    agent = Agent()
    for number in range(10):
        agent.say(LONG)
        agent.call("read_file", {"path": f"{number}.md"}, f"text {number}")
    assert agent.found == []


def test_a_message_that_broke_off_does_not_count() -> None:
    agent = Agent()
    for _ in range(5):
        agent.stream(LONG)
        agent.detector.message_cut()
        agent.detector.message_ended(agent.now)
    agent.say(LONG)
    assert agent.found == []


def test_empty_messages_are_none() -> None:
    agent = Agent()
    for _ in range(10):
        agent.say(" \n")
        agent.detector.message_ended(agent.now)
    assert agent.found == []


@pytest.mark.parametrize("period", [1, 3, 30, 64, 90, 200, 249])
@pytest.mark.parametrize("size", [1, 20, 5000])
def test_chanting(period: int, size: int) -> None:
    agent = Agent()
    phrase = prose(period + 300).replace("\n", " ").replace(" ", "")[:period]
    agent.stream(prose(3000))
    assert agent.found == []
    agent.stream(phrase * (15 * max(1, 50 // period) + 12), size)
    assert agent.kinds == {"chanting"}
    (found,) = agent.found
    assert found.count >= found.limit >= 10
    assert found.message == f"the agent repeats itself {found.count} times within a message"


def test_chanting_in_lines() -> None:
    agent = Agent()
    agent.stream((LONG + "\n") * 14)
    assert agent.kinds == {"chanting"}


def test_chanting_ends_with_other_words() -> None:
    agent = Agent()
    agent.stream(LONG * 14)
    assert agent.detector.active is not None
    agent.stream(prose(3000))
    assert agent.detector.active is None


def test_chanting_ends_with_a_tool() -> None:
    agent = Agent()
    agent.stream(LONG * 14)
    agent.start("read_file", {})
    assert agent.detector.active is None


def test_nine_times_is_no_chanting() -> None:
    agent = Agent()
    agent.say(LONG * 9)
    assert agent.found == []


def test_far_apart_is_no_chanting() -> None:
    agent = Agent()
    filler = prose(20_000).replace("\n", " ")
    for number in range(20):
        agent.stream(LONG + filler[number * 600 : number * 600 + 500])
    assert agent.found == []


@pytest.mark.parametrize(
    "line",
    [
        "- I will fix the problem in the module and run the tests again.\n",
        "12. I will fix the problem in the module and run the tests again.\n",
        "| a cell of the table with some text | and another cell, the same |\n",
        "## The heading of a section that has the same name as all others\n",
        "> a line that is quoted again and again, as it is found in the text\n",
        "-----------------------------------------------------------------\n",
        ".................................................................\n",
    ],
)
@pytest.mark.parametrize("size", [1, 20, 5000])
def test_structure_repeats_itself_by_nature(line: str, size: int) -> None:
    agent = Agent()
    agent.say("As follows.\n" + line * 20 + prose(300), size)
    assert agent.found == []


@pytest.mark.parametrize("size", [1, 20, 5000])
def test_code_repeats_itself_by_nature(size: int) -> None:
    agent = Agent()
    code = "    assert result.status is Outcome.COMPLETED, result.message\n"
    agent.stream("See:\n```python\n" + code * 20 + "```\n" + prose(200), size)
    assert agent.found == []
    agent.stream((LONG + "\n") * 14, size)
    assert agent.kinds == {"chanting"}


def test_prose_is_no_chanting() -> None:
    agent = Agent()
    agent.say(prose(100_000))
    assert agent.found == []


def test_strange_characters() -> None:
    agent = Agent()
    agent.say("\ud800\u0000" * 500)
    assert agent.detector.active is None or agent.detector.active.kind == "chanting"
