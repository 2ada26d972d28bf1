"""What the end of a call says."""

from __future__ import annotations

from typing import Any

import pytest

from debbie_otel.detection.loops.outcomes import (
    MAX_TEXT,
    changes_things,
    error_of,
    has_failed,
    says_much,
    says_pending,
    says_transient,
    words_of,
)
from debbie_otel.session.model import Outcome
from tests.detection.loops.tools import tool


@pytest.mark.parametrize(
    ("outcome", "result", "failed"),
    [
        (Outcome.FAILED, None, True),
        (Outcome.COMPLETED, {"isError": True}, True),
        (Outcome.COMPLETED, {"exitCode": 1}, True),
        (Outcome.COMPLETED, {"exitCode": 0, "isError": False}, False),
        (Outcome.COMPLETED, {"exitCode": True}, False),
        (Outcome.COMPLETED, "isError", False),
        (Outcome.CANCELLED, {"exitCode": 1}, False),
    ],
)
def test_failures(outcome: Outcome, result: Any, failed: bool) -> None:
    assert has_failed(tool("run", outcome=outcome, result=result)) is failed


def test_the_words_of_a_result_are_its_texts_in_order_and_bounded() -> None:
    result = {"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "n": 1}
    assert words_of(result) == "one\ntwo"
    long = "a" * 10 * MAX_TEXT + "the end"
    assert len(words_of(long)) <= MAX_TEXT
    assert words_of(long).endswith("the end")


def test_an_error_has_a_general_form() -> None:
    forms = [
        error_of(
            tool("read", error_message=f"Error: no such file: /srv/{name}.md for {name}"),
            (".name", name),
        )[1]
        for name in ("alpha", "beta")
    ]
    assert forms[0] == forms[1]
    assert forms[0] is not None
    assert "no such file" in forms[0]


@pytest.mark.parametrize("text", ["", "error: exit code 1"])
def test_an_error_that_says_nothing_has_no_general_form(text: str) -> None:
    assert error_of(tool("run", error_message=text), None) == (text, None)


@pytest.mark.parametrize(
    ("text", "transient"),
    [("HTTP 503", True), ("rate limit exceeded", True), ("permission denied", False)],
)
def test_errors_that_may_pass(text: str, transient: bool) -> None:
    assert says_transient(text) is transient


@pytest.mark.parametrize(
    ("result", "pending"),
    [({"status": "running"}, True), ("still building", True), ({"status": "done"}, False)],
)
def test_results_that_say_not_yet(result: Any, pending: bool) -> None:
    assert says_pending(result) is pending


def test_a_result_with_contents_is_told_from_one_that_found_nothing() -> None:
    assert says_much("A paragraph that is long enough to be something to read.")
    assert not says_much("done")
    assert not says_much("Searched 1200 files in the whole project: no results found.")


@pytest.mark.parametrize(
    ("name", "changes"), [("writeFile", True), ("read_file", False), ("asset_list", False)]
)
def test_tools_that_change_things(name: str, changes: bool) -> None:
    assert changes_things(name, None) is changes
