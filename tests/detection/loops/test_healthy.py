"""What looks like a loop and is none: nothing here may call for action, and most not even warn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.detection.loops.loops import Agent


def test_a_build_that_is_polled() -> None:
    agent = Agent()
    for number in range(40):
        agent.call("get_build", {"id": 7}, {"state": "busy", "progress": number})
    agent.call("get_build", {"id": 7}, {"state": "done", "progress": 100})
    assert agent.found == []


@pytest.mark.parametrize(
    "name", ["get_status", "mcp__ci__getJobStatus", "wait_for_job", "sleep", "BashOutput", "ping"]
)
def test_polling_tools_with_unchanged_results(name: str) -> None:
    agent = Agent()
    for _ in range(30):
        agent.call(name, {"id": 7}, "the same")
    assert agent.found == []


@pytest.mark.parametrize(
    "result",
    [
        {"status": "running"},
        {"status": "in_progress", "id": 3},
        [{"type": "text", "text": '{"state": "QUEUED"}'}],
        "The deployment is still pending.",
        "not ready yet",
    ],
)
def test_results_that_say_not_yet(result: Any) -> None:
    agent = Agent()
    for _ in range(30):
        agent.call("deployment", {"id": 7}, result)
    assert agent.found == []


@pytest.mark.parametrize(
    "command",
    ["/bin/bash -lc 'sleep 30; gh run view 12'", "sleep 5 && cat status", "tail -f build.log"],
)
def test_commands_that_wait(command: str) -> None:
    agent = Agent()
    for _ in range(20):
        agent.call("execute", {"command": command}, {"exitCode": 0, "output": "nothing new"})
    assert agent.found == []


def test_waiting_and_looking_in_turns() -> None:
    agent = Agent()
    for _ in range(15):
        agent.call("sleep", {"seconds": 10}, "ok")
        agent.call("list_pods", {"ns": "prod"}, "web-1 Starting")
    assert agent.found == []


@pytest.mark.parametrize("blind", [False, True])
def test_pagination(blind: bool) -> None:
    agent = Agent()
    for page in range(40):
        result = None if blind else {"items": [page * 10, page * 10 + 1], "next": page + 1}
        agent.call("list_issues", {"repo": "debbie/otel", "state": "open", "page": page}, result)
    assert agent.found == []


def test_a_cursor_without_arguments() -> None:
    agent = Agent()
    for number in range(40):
        agent.call("next_rows", {}, f"row {number}")
    assert agent.found == []


def test_a_file_read_piece_by_piece() -> None:
    agent = Agent()
    for number in range(20):
        lines = f"{number * 50},{number * 50 + 49}p"
        agent.call("execute", {"command": f"sed -n {lines} src/big_module.py"}, f"text {number}")
    assert agent.found == []


@pytest.mark.parametrize("result", [None, "ok", "The file has been updated successfully."])
def test_many_files_edited_alike(result: Any) -> None:
    agent = Agent()
    for number in range(30):
        agent.call(
            "edit_file",
            {
                "path": f"src/package/module_{number:02}.py",
                "old": "import foo",
                "new": "import bar",
            },
            result,
        )
    assert agent.found == []


def test_many_edits_of_one_file() -> None:
    agent = Agent()
    for name in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh"):
        agent.call(
            "str_replace",
            {"path": "src/package/configuration.py", "old": f"{name} = 1", "new": f"{name} = 2"},
            "ok",
        )
    assert agent.found == []


def test_many_files_checked_with_the_same_verdict() -> None:
    agent = Agent()
    for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"):
        agent.call("execute", {"command": f"pytest -q tests/unit/test_{name}.py"}, "1 passed")
    assert agent.found == []


def test_different_things_searched_in_vain() -> None:
    agent = Agent()
    for topic in ("memory", "stalls", "loops", "errors", "budgets", "alerts"):
        agent.call(
            "search",
            {"query": f"where in the documentation is something said about {topic}"},
            "No results found",
        )
    assert agent.found == []


def test_similar_questions_with_new_answers() -> None:
    agent = Agent()
    for number, tail in enumerate(("", "?", " please", " now", " then", " again", "!")):
        agent.call(
            "ask", {"question": f"what should I do next in this project{tail}"}, f"do {number}"
        )
    assert agent.found == []


def test_retries_that_succeed() -> None:
    agent = Agent()
    for attempts in (1, 2, 3):
        for _ in range(attempts):
            agent.call("fetch", {"url": "http://x/y"}, error="503 Service Unavailable")
        agent.call("fetch", {"url": "http://x/y"}, "<html>")
    assert agent.kinds == set()


def test_tests_after_each_edit() -> None:
    agent = Agent()
    for number in range(15):
        agent.call("run_tests", {}, error="1 failed: test_parser")
        agent.call(
            "edit_file", {"path": "parser.py", "old": f"n = {number}", "new": f"n = {number + 1}"}
        )
    agent.call("run_tests", {}, "all passed")
    assert agent.found == []


def test_the_same_file_read_after_each_edit() -> None:
    agent = Agent()
    for number in range(15):
        agent.call("read_file", {"path": "a.py"}, f"n = {number}")
        agent.call("edit_file", {"path": "a.py", "text": "n += 1"}, "ok")
    assert agent.found == []


def test_a_user_who_asks_the_same_five_times() -> None:
    agent = Agent()
    for _ in range(10):
        agent.hears_user()
        agent.call("weather", {"city": "Paris"}, "sunny")
        agent.say("It is sunny in Paris, as it has been for the whole week already.")
        agent.detector.turn_ended()
    assert agent.found == []


def test_the_same_call_long_after_outside_of_turns() -> None:
    """An MCP server hears of no turns."""
    agent = Agent(turns=False)
    for _ in range(10):
        agent.call("weather", {"city": "Paris"}, "sunny")
        agent.now += 3600 * 10**9
    assert agent.found == []


def test_what_is_known_of_the_tool_is_only_its_kind() -> None:
    """ACP names no tools, and some agents tell neither arguments nor results."""
    agent = Agent()
    for _ in range(20):
        agent.call("read", None, None, kind="read")
        agent.call("other", None, None)
    assert agent.found == []


def test_a_few_wrong_paths() -> None:
    agent = Agent()
    for path in ("a.md", "docs/a.md", "README"):
        agent.call("read_file", {"path": path}, error=f"No such file or directory: {path}")
    agent.call("read_file", {"path": "README.md"}, "# Debbie")
    assert agent.kinds == set()


def test_searches_that_find_nothing_are_no_errors() -> None:
    agent = Agent()
    for word in ("foo", "quux", "waldo", "fred", "plugh", "xyzzy"):
        agent.call("execute", {"command": f"grep -r {word} ."}, {"exitCode": 1, "output": ""})
    assert agent.found == []


def test_the_same_command_failing_in_new_ways_between_edits() -> None:
    agent = Agent()
    for number in range(8):
        agent.call(
            "execute", {"command": "make"}, {"exitCode": 2, "output": f"error: line {number}"}
        )
        agent.call("edit", {"path": "a.c", "line": number, "text": f"x{number}"}, "ok")
    assert agent.found == []


def test_scrolling_and_stepping() -> None:
    agent = Agent()
    for _ in range(20):
        agent.call("browser_scroll", {"direction": "down"}, "ok")
    for _ in range(20):
        agent.call("debugger_step_over", {}, "ok")
    assert agent.found == []


def test_command_not_found_is_no_unknown_tool() -> None:
    agent = Agent()
    for command in ("rg x", "fd y", "bat z"):
        text = f"bash: {command.split()[0]}: command not found"
        agent.call("execute", {"command": command}, {"exitCode": 127, "output": text})
    assert not any(f.kind == "unknown_tool" for f in agent.found)
