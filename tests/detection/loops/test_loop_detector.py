"""Each rule finds its loop among calls, at the count it promises, and sees when it is over."""

from __future__ import annotations

import json

import pytest

from debbie_otel.detection.loops import LoopDetector, LoopSettings
from debbie_otel.session import events as ev
from tests.detection.loops.loops import Agent
from tests.play import Play

PATH = {"path": "notes.md"}


def test_same_call_with_the_same_result() -> None:
    agent = Agent()
    for _ in range(9):
        agent.call("read_file", PATH, "hello there")
    assert agent.told == [("repeated_call", "soft", 3), ("repeated_call", "hard", 5)]
    hard = agent.found[-1]
    assert (hard.tool, hard.period) == ("read_file", 1)
    assert (
        hard.message == "read_file was called 5 times with the same arguments and the same result"
    )
    assert hard.since_ns == 2 * 10**9
    assert agent.detector.active is not None
    assert agent.detector.active.count == 9


def test_results_that_the_wire_does_not_tell() -> None:
    """As AIWhisperer reports: afterwards, arguments as JSON in a string."""
    agent = Agent()
    for spacing in ("", " ", "  ", "\t", ""):
        agent.report("read_file", f'{{"path":{spacing}"a.md", "line": 1}}')
    assert agent.told == [("repeated_call", "soft", 3), ("repeated_call", "hard", 5)]
    assert agent.found[-1].message == "read_file was called 5 times with the same arguments"


def test_repetitions_are_settable() -> None:
    agent = Agent(repetitions=3, warn_repetitions=2)
    for _ in range(3):
        agent.call("list_rfcs", {}, [])
    assert agent.told == [("repeated_call", "soft", 2), ("repeated_call", "hard", 3)]


@pytest.mark.parametrize("period", range(2, 9))
def test_cycles(period: int) -> None:
    agent = Agent()
    for step in range(5 * period):
        agent.call(f"tool_{step % period}", PATH, "same as ever")
    assert agent.told == [("cycle", "soft", 3), ("cycle", "hard", 5)]
    assert {finding.period for finding in agent.found} == {period}


def test_ping_pong_over_six_calls_is_warned_of() -> None:
    agent = Agent()
    for step in range(6):
        agent.call("read" if step % 2 else "list", PATH, "x")
    assert agent.told == [("cycle", "soft", 3)]
    assert agent.found[0].message == (
        "a cycle of 2 calls (list, read) was repeated 3 times, without progress"
    )


def test_a_cycle_with_repetition_in_it() -> None:
    agent = Agent()
    for _ in range(5):
        agent.call("edit", PATH, "ok")
        for _ in range(3):
            agent.call("run_tests", {}, "1 failed")
    assert agent.told[-1] == ("cycle", "hard", 5)


def test_a_cycle_of_results_of_one_call() -> None:
    agent = Agent()
    for step in range(10):
        agent.call("toggle", PATH, "on" if step % 2 else "off")
    assert agent.told[-1] == ("cycle", "hard", 5)


def test_three_tools_at_once_round_after_round() -> None:
    """They end in another order each time."""
    agent = Agent()
    for turn in range(5):
        running = [agent.start(name, PATH) for name in ("a", "b", "c")]
        for step in range(3):
            agent.end(running[(turn + step) % 3], "same")
    assert agent.told == [("cycle", "soft", 3), ("cycle", "hard", 5)]


def test_a_call_in_the_background_hides_no_loop() -> None:
    agent = Agent()
    server = agent.start("run_server", {"port": 80})
    for _ in range(5):
        agent.call("read_file", PATH, "x")
    assert agent.told[-1] == ("repeated_call", "hard", 5)
    agent.end(server, "stopped")
    assert agent.detector.active is not None
    agent.call("read_file", PATH, "x")
    assert agent.detector.active is not None
    assert agent.detector.active.count == 6


def test_identical_calls_that_all_fail() -> None:
    agent = Agent()
    for code in range(4):
        agent.call("deploy", {"to": "prod"}, error=f"Permission denied for user{code}")
    assert agent.told == [("repeated_failure", "soft", 3), ("repeated_failure", "hard", 4)]


def test_errors_that_may_pass_get_as_many_tries_as_any_call() -> None:
    agent = Agent()
    for _ in range(4):
        agent.call("fetch", {"url": "http://x"}, error="503 Service Unavailable")
    assert agent.told == [("repeated_failure", "soft", 3)]
    agent.call("fetch", {"url": "http://x"}, error="503 Service Unavailable")
    assert agent.told[1:] == [("repeated_failure", "hard", 5)]


def test_a_failure_that_only_the_result_tells() -> None:
    agent = Agent()
    for _ in range(4):
        agent.call("execute", {"command": "make"}, {"exitCode": 2, "output": "make: no rule"})
    assert agent.told[-1] == ("repeated_failure", "hard", 4)


def test_same_error_whatever_the_arguments() -> None:
    agent = Agent()
    for name in ("alpha", "beta", "src/gamma.py", "delta 4", "e"):
        agent.call(
            "open", {"file": name, "mode": name[:1]}, error=f"Error: '{name}' is not allowed"
        )
    assert agent.told == [("same_error", "soft", 3), ("same_error", "hard", 5)]


def test_tools_that_do_not_exist() -> None:
    agent = Agent()
    for name in ("serch", "find_it", "lookup", "grep_all"):
        agent.call(name, {"q": name}, [{"type": "text", "text": f"Unknown tool: {name}"}], error="")
    assert agent.told == [("unknown_tool", "soft", 3), ("unknown_tool", "hard", 4)]


@pytest.mark.parametrize(
    "text",
    [
        "Tool 'frob' not found",
        "No such tool: frob",
        "The tool frob does not exist. Available tools: a, b",
        "unknown function frob",
    ],
)
def test_how_errors_say_that_a_tool_does_not_exist(text: str) -> None:
    agent = Agent()
    for number in range(4):
        agent.call("frob", {"n": number}, error=text)
    assert agent.kinds == {"unknown_tool"}


def test_an_error_response_says_so_too() -> None:
    """Through the core: MCP servers answer with an error instead of a result."""
    stage = Play("mcp")
    detector = LoopDetector(LoopSettings())
    for number in range(4):
        call = {"name": f"tool_{number}", "arguments": {"n": number}}
        request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}
        error = {"code": -32602, "message": f"Unknown tool: tool_{number}"}
        stage.play(f">> {json.dumps(request)}")
        stage.play(f"<< {json.dumps({'jsonrpc': '2.0', 'id': number, 'error': error})}")
    found = [detector.tool_ended(event.tool) for event in stage.of(ev.ToolEnded)]
    assert [f.kind for f in found if f is not None] == ["unknown_tool", "unknown_tool"]


def test_other_words_for_the_same_question() -> None:
    agent = Agent()
    for query in (
        "how to configure the debbie proxy listener",
        "how to configure debbie proxy listener",
        "how to configure the debbie proxy listeners",
        "how do I configure the debbie proxy listener",
        "how to configure the debbie's proxy listener",
    ):
        agent.call("search", {"query": query}, "1. Configuration of the proxy: see config.md, p. 3")
    assert agent.told == [("near_duplicate", "soft", 3), ("near_duplicate", "hard", 5)]


def test_what_drifts_is_more_of_the_same_also_after_a_leap() -> None:
    agent = Agent()
    query = "where does the scheduler read its configuration"
    for tail in ("", "?", " now", " here", " again", " code"):
        agent.call("search", {"query": query + tail}, "nothing")
    agent.call("search", {"query": "scheduler settings"}, "nothing")
    assert agent.detector.active is None
    other = agent.start("search", {"query": query + " please"})
    assert agent.detector.steps().include(other)
    agent.hears_user()
    assert not agent.detector.steps().include(other)


def test_a_numbered_question_that_brings_the_same() -> None:
    agent = Agent()
    for number in range(5):
        agent.call("search", {"query": f"find the configuration file {number}"}, "nothing found")
    assert agent.kinds == {"near_duplicate"}


def test_pages_behind_the_last() -> None:
    agent = Agent()
    for page in range(5):
        agent.call("read_file", {"path": "src/a.py", "offset": 1000 + 100 * page}, "(end of file)")
    assert agent.kinds == {"near_duplicate"}


def test_a_counted_attempt_is_the_same_call() -> None:
    agent = Agent()
    for number in range(5):
        agent.call("build", {"target": "all", "attempt": number, "requestId": f"r{number}"}, "x")
    assert agent.kinds == {"repeated_call"}


def test_literal_match_by_name() -> None:
    agent = Agent(match="name")
    for number in range(5):
        agent.call("read_file", {"path": f"{number}.md"}, f"text {number}")
    assert agent.told == [("name", "soft", 3), ("name", "hard", 5)]
    assert agent.found[-1].message == "read_file was called 5 times in a row"
    agent.call("list", {})
    assert agent.detector.active is None


def test_thinking_does_not_interrupt() -> None:
    agent = Agent()
    for number in range(5):
        agent.call("think", {"thought": f"Perhaps this time, idea {number}"}, "noted")
        agent.say(f"Let me look once more ({number}).")
        agent.call("plan", {"thought": f"step {number}"}, "noted", kind="think")
        agent.call("read_file", PATH, "x")
    assert agent.told == [("repeated_call", "soft", 3), ("repeated_call", "hard", 5)]


def test_polling_is_still_found_in_the_end() -> None:
    agent = Agent()
    for _ in range(200):
        agent.call("mcp__ci__getStatus", {"id": 7}, "running")
    assert agent.told == [("repeated_call", "soft", 60)]


def test_changing_results_are_found_in_the_end() -> None:
    agent = Agent()
    for number in range(100):
        agent.call("inspect", {"id": 7}, f"value {number}")
    assert agent.told == [("repeated_call", "soft", 60)]


# -- the end of a loop --------------------------------------------------------------------------


def looping() -> Agent:
    agent = Agent()
    for _ in range(5):
        agent.call("read_file", PATH, "x")
    assert agent.detector.active is not None
    return agent


def test_a_different_call_ends_it_as_it_begins() -> None:
    agent = looping()
    agent.start("read_file", {"path": "other.md"})
    assert agent.detector.active is None


def test_a_new_result_ends_it() -> None:
    agent = looping()
    call = agent.start("read_file", PATH)
    assert agent.detector.active is not None
    agent.end(call, "something new")
    assert agent.detector.active is None


def test_a_success_ends_failures() -> None:
    agent = Agent()
    for _ in range(4):
        agent.call("deploy", PATH, error="Permission denied")
    agent.call("deploy", PATH, "done")
    assert agent.detector.active is None


def test_the_end_of_the_turn_ends_it() -> None:
    agent = looping()
    agent.detector.turn_ended()
    assert agent.detector.active is None


def test_it_goes_on_after_a_prompt_that_no_user_wrote() -> None:
    agent = looping()
    agent.detector.turn_ended()
    agent.call("read_file", PATH, "x")
    assert agent.told[-1] == ("repeated_call", "hard", 6)


def test_real_user_input_ends_it() -> None:
    agent = looping()
    agent.hears_user()
    assert agent.detector.active is None
    for _ in range(4):
        agent.call("read_file", PATH, "x")
    assert agent.kinds == {"repeated_call"}
    assert len([f for f in agent.found if f.tier == "hard"]) == 1


def test_a_loop_that_comes_back_is_told_again() -> None:
    agent = looping()
    agent.call("list", {}, "y")
    for _ in range(5):
        agent.call("read_file", PATH, "x")
    assert [told[1] for told in agent.told] == ["soft", "hard", "soft", "hard"]


def test_memory_is_bounded() -> None:
    agent = Agent()
    for number in range(2000):
        agent.start(f"tool_{number}", {"n": number})
    order = agent.detector._order
    assert len(order._ended) + len(order._background) <= 128
    calls = agent.detector._calls
    for number in range(2000):
        agent.call(f"tool_{number}", {"text": "x" * 400 + str(number)}, "y" * 1000)
    assert len(calls._recent) == 8
    assert all(action.value is None for action in calls._recent)
    assert len(calls._group) <= 5


def test_what_is_no_json_object_is_no_trouble() -> None:
    deep: object = []
    for _ in range(500):
        deep = [deep]
    strange = [deep, 1e999, float("nan"), 2**200, "\ud800", "{", "[1", list(range(5000)), True]
    agent = Agent()
    for value in strange:
        for _ in range(5):
            agent.call("odd", value, value)
    assert len([f for f in agent.found if f.tier == "hard"]) == len(strange)
    assert json.dumps([f.message for f in agent.found])
